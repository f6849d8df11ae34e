"""The channels by which notifications reach people, and the targets that these lead to.

- `target`: a channel with an address, written as text (pure).
- `store`: the numbers by which the outbox knows targets that are no chats of Telegram.
"""
