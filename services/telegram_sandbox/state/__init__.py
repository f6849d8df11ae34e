"""The state of the sandbox: what Telegram stores.

- `sandbox`: all parts together, and operations on more than one of them.
- `bots`: tokens, and what is stored for each bot.
- `chats`: chats, people and messages.
- `files`: documents.
- `update_queue`: a bot's pending updates.
- `event_log`: everything that happened, in memory and in a file.
- `restore`: rebuilds the state from the event log after a restart.
"""
