"""Telegram's rate limits for a bot and its chats.

- `token_bucket`: fractional tokens on a monotonic clock, for a chat and for a bot in this process.
- `redis_bucket`: a bot's tokens shared by all replicas through Redis.
- `buckets`: opens the bucket of each bot, in process or in Redis.
"""
