"""The state of the sandbox: what Telegram stores.

- `sandbox`: all parts together, and operations on more than one of them.
- `bots`: tokens, and what is stored for each bot.
- `chats`: chats, people and messages.
- `files`: files of messages, on disk.
- `media`: files as fields of messages, and Telegram's limits for photos; pure.
- `update_queue`: a bot's pending updates.
- `event_log`: everything that happened, in memory and in a file.
- `restore`: rebuilds the state from the event log after a restart.
"""
