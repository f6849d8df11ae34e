"""Chats: each is a queue with a lease, a rate and a state of its own.

- `chat_queue`: picks the next message of a chat, when it may go, and releases a leased chat.
- `chat_state`: blocked, migrated, muted and paused chats.
- `locks`: locks chats in one order, so that transactions cannot deadlock.
"""
