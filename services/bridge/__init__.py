"""The bridge: takes events over REST, stores them durably, and delivers them to Telegram.

One message passes:

- `keys`: authenticates the request by its key or signature and limits its rate.
- `api`: the route `POST /events`; it answers after the commit.
- `ways_in`: the same for plain texts and the requests of other programs. `folder`: takes events from files.
- `event_intake`: stores what these have read.
- `routes`: finds the recipients of an event that names none.
- `files`: takes files, and the files of events.
- `events`: checks the event (accept), and later makes its text (render).
- `services.outbox`: enqueue, pace, claim, send, settle.

Beside them:

- `approvals`: questions to people and their decisions.
- `updates`: what people do in Telegram, received once and stored.
- `commands`: the bot's commands.
- `tracking`: searches, timelines, replays, the change stream, retention.
- `webhooks`: signed calls to other programs.
- `first_chat`: chooses the chat of a bot without one.
- `chats`: settings of chats, such as quiet hours.
- `bots`: the configured bots. `paid_broadcast`: what they spend.
- `bot_messages`: messages of the bot itself. `long_poll`: requests that wait.
- `watched_files`: files of an operator, read again when they change.
- `after_restore`: what is not done again after a restore from a backup.
- `repeat_counts`: edits messages of repeated events, to say how often.
- `digests`: combines messages with a digest key, and lets them end as the one that shows them.
- `inbound`: opens updates, approvals and webhooks. `app`: opens everything. `state`: what routes read.
- `openapi`, `metrics`, `settings`: the API's document, the series, the variables.
"""
