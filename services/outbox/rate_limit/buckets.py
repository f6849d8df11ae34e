"""Rates of all bots of a service: local to the process, or in Redis.

Telegram limits a bot and each of its chats, whichever service sends. So all senders of a bot share its bucket
and the pace of its chats. Services of one process share :class:`LocalBuckets`; processes share Redis. Without
Redis each process has the whole rates and relies on Telegram's 429: set REDIS_URL, or divide
TELEGRAM_BOT_PER_SECOND, TELEGRAM_CHAT_PER_SECOND and TELEGRAM_GROUP_PER_MINUTE among the processes.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.background import instance_name
from services.kit.clock import Clock
from services.kit.health import Health, Level, Measurement
from services.outbox.rate_limit import redis_bucket
from services.outbox.rate_limit.bot_bucket import Bucket, LocalBucket
from services.outbox.rate_limit.chat_pace import ChatPace, LocalChatPace
from services.outbox.rate_limit.redis_bucket import RedisBucket
from services.outbox.rate_limit.redis_chat_pace import RedisChatPace

#: Tokens that other senders leave for alerts: with one token left, an alert never waits for a backlog.
LEFT_FOR_ALERTS = 1.0


@dataclass
class LocalBuckets:
    """Rates of the bots of this process, by bot id. Pass one object to all services of the process."""

    by_bot: dict[str, LocalBucket] = field(default_factory=dict)
    chats_by_bot: dict[str, LocalChatPace] = field(default_factory=dict)

    def of(self, bot: str, per_second: float, clock: Clock) -> LocalBucket:
        """Returns the bucket of a bot; its first caller determines the rate."""
        if bot not in self.by_bot:
            self.by_bot[bot] = LocalBucket(per_second, clock)
        return self.by_bot[bot]

    def chats_of(self, bot: str) -> LocalChatPace:
        """Returns the pace of a bot's chats."""
        return self.chats_by_bot.setdefault(bot, LocalChatPace())


class Buckets:
    """Makes the buckets of one service's bots. Opened by :func:`open_buckets`.

    Args:
        redis: holds the buckets; None: they are local.
        local: buckets of this process, shared with its other services.
        clock: its monotonic time is used.
        leave: tokens that this service leaves for other senders of the same bot.

    Attributes:
        changed: is set when Redis is lost or back, so that its health is measured at once.
    """

    def __init__(self, redis: Redis | None, local: LocalBuckets, clock: Clock, leave: float) -> None:
        self._redis = redis
        self._local = local
        self._clock = clock
        self._leave = leave
        self.changed = asyncio.Event()
        self._shared: list[RedisBucket] = []

    def of(self, token: str, per_second: float) -> Bucket:
        """Returns the bucket of a bot.

        Args:
            token: of the bot. Its bot id names the bucket, so a new token of a bot uses the same bucket.
            per_second: messages a second of all senders; 0 means no limit.
        """
        bot = _bot_id(token)
        if self._redis is None:
            return self._local.of(bot, per_second, self._clock).leaving(self._leave)
        return self._in_redis(self._redis, bot, per_second, self._leave)

    def paid(self, token: str, per_second: float) -> Bucket:
        """Returns the bucket of a bot's paid messages, which only the bulk lane uses.

        Args:
            token: of the bot.
            per_second: messages a second beyond the free ones.
        """
        bot = f"{_bot_id(token)}:paid"
        if self._redis is None:
            return self._local.of(bot, per_second, self._clock)
        return self._in_redis(self._redis, bot, per_second, 0.0)

    def chats(self, token: str) -> ChatPace:
        """Returns the pace of a bot's chats, which all its senders share.

        Args:
            token: of the bot.
        """
        bot = _bot_id(token)
        if self._redis is None:
            return self._local.chats_of(bot)
        return RedisChatPace(self._redis, bot, self._clock)

    def _in_redis(self, redis: Redis, bot: str, per_second: float, leave: float) -> RedisBucket:
        bucket = RedisBucket(
            redis, bot, instance_name(), per_second, self._clock, leave=leave, changed=self.changed.set
        )
        self._shared.append(bucket)
        return bucket

    async def check_redis(self) -> Measurement:
        """Health probe. Without Redis messages still go, at this sender's share of the rate."""
        if self._redis is None:
            reason = "not configured (REDIS_URL): the rate is this process's own"
            return Measurement(Level.UNKNOWN, {"reason": reason})
        replicas = max((bucket.replicas for bucket in self._shared), default=0)
        try:
            await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return Measurement(
                Level.DEGRADED, {"error": f"{type(error).__name__}: {error}", "replicas": replicas}
            )
        pool = self._redis.connection_pool
        free = pool.max_connections - len(pool._in_use_connections)  # noqa: SLF001 - the pool has no public count
        shared = all(bucket.shared for bucket in self._shared)
        return Measurement(
            Level.HEALTHY if shared else Level.DEGRADED,
            {"connection_pool": f"{free}/{pool.max_connections}", "replicas": replicas},
        )


def _bot_id(token: str) -> str:
    """Returns the part of a token that stays the same when BotFather renews it."""
    return token.partition(":")[0]


@asynccontextmanager
async def open_buckets(
    redis_url: str, *, local: LocalBuckets | None, clock: Clock, health: Health, leave: float = 0.0
) -> AsyncIterator[Buckets]:
    """Opens the buckets while the block runs; health watches Redis as ``redis_connection``.

    Args:
        redis_url: empty: the buckets are local.
        local: buckets of this process, if other services of it send as well.
        clock: its monotonic time is used.
        health: of the service.
        leave: tokens that this service leaves for other senders of the same bot.
    """
    redis = redis_bucket.connect(redis_url) if redis_url else None
    buckets = Buckets(redis, local or LocalBuckets(), clock, leave)
    health.add("redis_connection", buckets.check_redis, wake=buckets.changed)
    try:
        yield buckets
    finally:
        if redis is not None:
            await redis.aclose()
