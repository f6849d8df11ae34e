"""Telegram's rate limits for a bot and its chats, as token buckets.

- `limits`: Telegram's limits, and a chat's tokens in its row.
- `bot_bucket`: the interface of a bot's bucket, and the bucket of one process.
- `redis_bucket`: a bot's bucket shared by all replicas through Redis.
- `chat_pace`: the pace of a bot's chats that all its senders share, and that of one process.
- `redis_chat_pace`: the same through Redis.
- `buckets`: opens the bucket and the chats' pace of each bot, local or in Redis.
- `bot_rate_limiter`: a bot's free and paid buckets, its delays, and flood control.
"""
