"""Chats: the unit that workers lease; one worker at a time sends to a chat, so its order holds.

- `chat_queue`: adds chats to the queue, and releases leased ones with the time of their next claim.
- `chat_heads`: reads the next message of each lane of a chat, and chooses the one that goes first.
- `chat_state`: chats that are migrated, blocked, muted, or have deferred messages.
- `message_changes`: ends messages without an attempt, and records their changes with a cause.
- `locks`: locks chats in one order, so that transactions do not deadlock.
"""
