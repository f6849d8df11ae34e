"""Updates: what people do in Telegram, stored before it is acknowledged, then handled once.

A library that bridge and alert_relay can use, each with a database, an outbox and bots of its own.
Follow one update:

- `source`: receives it, by long polling or a webhook.
- `batch`: the updates in an answer to getUpdates (pure).
- `receiver`: one replica at a time, by a leader lease, has the updates of a bot stored, then acknowledged.
- `stored_updates`: the table of updates, and its SQL.
- `processor`: takes stored updates in order, and hands each to the service's handler in one transaction.
- `parse`: an update as a value (pure).
- `attachments`: the file of a message as a value (pure).
- `handler`: what a service does with an update, as a protocol.
- `alert_acts`: which taps and commands are about incidents: those of alert-relay (pure).
- `command`: a text as a command (pure).
- `bot_calls`: makes the Bot API calls that follow, such as toasts and reactions.

Beside them: `metrics` has the series, `after_restore` what is not done again after a restore from a backup.
"""
