"""Models of the requests and answers that cross a network between services and clients. No I/O, no clients.

- `fields`: types and helpers that the other modules share. `times`: moments and durations.
- `events`: events as clients post them, and the answer.
- `buttons`: buttons below a message.
- `files`: files of events, and uploads.
- `details`: the field `data` of an event.
- `messages`: messages as the bridge returns them: lists, details, dead letters, numbers.
- `tracking`: replay jobs, the timeline of a correlation id, the stream's events.
- `approvals`: questions to people and their answers.
- `questions`: what questions have in common, whether an approval or an event asks them.
- `responses`: what people sent to a bot.
- `chats`, `routes`, `keys`, `callbacks`: settings of the bridge as clients set and read them.
- `templates`: the operator's own texts, and the text of an event that is not sent.
- `webhooks`: bodies of the webhooks that the bridge calls.
- `health`: health reports, checks and compliance reports.
- `alertmanager`: Alertmanager's webhook, and its API as far as it is read.
- `incidents`: incidents as alert-relay returns them. `clusters`: clusters of Alertmanagers.
- `on_call`: whom it notifies of an alert. `targets`: where its notifications may go.
- `maintenance`: maintenance windows of alert-relay.
- `digest`: the digest of alert-relay.
- `stored`: makes the models above of stored rows.
"""
