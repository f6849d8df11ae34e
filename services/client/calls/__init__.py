"""Each call of the API, but the stream, as a function that returns a value; nothing is sent here.

- `events`: post events, read one, list the event types.
- `files`: upload and read files, for `attachments` of events.
- `messages`: search, read, cancel, replay; traces.
- `dead_letters`: list dead letters, replay many in a job.
- `approvals`: ask people, read, decide, cancel; what people sent.
- `settings`: keys, chats, routes, templates, callbacks.
- `status`: statistics, health.
- `incidents`: alerts and incidents of alert-relay. `targets`: where its notifications go.
- `maintenance`: maintenance windows of alert-relay.
"""
