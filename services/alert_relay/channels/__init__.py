"""The channels by which notifications reach people, and the targets that these lead to.

- `target`: a channel with an address, written as text (pure).
- `mail_server`: the mail server of the settings (pure).
- `configuration`: the channels of the settings, with their secrets (pure).
- `settings`: the environment variables of channels.
- `receipts`: what targets answered last.
- `store`: the numbers by which the outbox knows targets that are no chats of Telegram.
"""
