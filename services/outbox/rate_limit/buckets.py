"""Who sends for the same bot keeps to one rate: services of one process, and all that share a Redis.

Telegram's limits are of the bot, whichever of our services sends. Without a common process and without
Redis each process has the whole rate for itself, and Telegram's 429 is what holds them to it: set
REDIS_URL there, or divide TELEGRAM_BOT_PER_SECOND.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.kit.clock import Clock
from services.kit.health import Health, Level, Measurement
from services.kit.instance import instance_name
from services.outbox.rate_limit import redis_bucket
from services.outbox.rate_limit.redis_bucket import SharedPace
from services.outbox.rate_limit.token_bucket import BotPace, Pace

#: What everybody else leaves for alerts: with one token left there, an alert never waits for a backlog.
BEHIND_ALERTS = 1.0


@dataclass
class InProcess:
    """The rates of the bots that services of this process send for; hand it to all of them."""

    paces: dict[str, BotPace] = field(default_factory=dict)

    def of(self, bot: str, per_second: float, clock: Clock) -> BotPace:
        """The rate of a bot; that which was named first holds."""
        if bot not in self.paces:
            self.paces[bot] = BotPace(per_second, clock)
        return self.paces[bot]


class Paces:
    """The rates of the bots that one service sends for. Made by :func:`open_paces`.

    Args:
        redis: where they are shared; None: within the process.
        beside: the other services of this process.
        clock: monotonic times are used.
        leave: tokens left to the others who send for the same bot.
    """

    def __init__(self, redis: Redis | None, beside: InProcess, clock: Clock, leave: float) -> None:
        self._redis = redis
        self._beside = beside
        self._clock = clock
        self._leave = leave
        self._shared: list[SharedPace] = []

    def of(self, token: str, per_second: float) -> Pace:
        """The rate of a bot.

        Args:
            token: of the bot; a renewed one is still the same bot's.
            per_second: messages a second, of all who send for it; 0: no limit.
        """
        bot = token.partition(":")[0]
        if self._redis is None:
            return self._beside.of(bot, per_second, self._clock).leaving(self._leave)
        pace = SharedPace(self._redis, bot, instance_name(), per_second, self._clock, leave=self._leave)
        self._shared.append(pace)
        return pace

    def paid(self, token: str, per_second: float) -> Pace:
        """What the bulk lane of a bot may send beyond its rate, for Stars; nothing is left to others of it.

        Args:
            token: of the bot.
            per_second: messages a second beyond the free ones.
        """
        bot = f"{token.partition(':')[0]}:paid"
        if self._redis is None:
            return self._beside.of(bot, per_second, self._clock)
        pace = SharedPace(self._redis, bot, instance_name(), per_second, self._clock)
        self._shared.append(pace)
        return pace

    async def check_redis(self) -> Measurement:
        """A health probe. Without Redis messages still go, at this sender's share of the rate."""
        if self._redis is None:
            reason = "not configured (REDIS_URL): the rate is this process's own"
            return Measurement(Level.UNKNOWN, {"reason": reason})
        replicas = max((pace.replicas for pace in self._shared), default=0)
        try:
            await self._redis.ping()
        except (RedisError, OSError, TimeoutError) as error:
            return Measurement(
                Level.DEGRADED, {"error": f"{type(error).__name__}: {error}", "replicas": replicas}
            )
        pool = self._redis.connection_pool
        free = pool.max_connections - len(pool._in_use_connections)  # noqa: SLF001 - the pool tells it nowhere else
        shared = all(pace.shared for pace in self._shared)
        return Measurement(
            Level.HEALTHY if shared else Level.DEGRADED,
            {"connection_pool": f"{free}/{pool.max_connections}", "replicas": replicas},
        )


@asynccontextmanager
async def open_paces(
    redis_url: str, *, beside: InProcess | None, clock: Clock, health: Health, leave: float = 0.0
) -> AsyncIterator[Paces]:
    """The rates, for as long as the block runs; health watches Redis as ``redis_connection``.

    Args:
        redis_url: empty: there is none.
        beside: the other services of this process; None: there are none.
        clock: monotonic times are used.
        health: of the service.
        leave: tokens left to the others who send for the same bot.
    """
    redis = redis_bucket.connect(redis_url) if redis_url else None
    paces = Paces(redis, beside or InProcess(), clock, leave)
    health.add("redis_connection", paces.check_redis)
    try:
        yield paces
    finally:
        if redis is not None:
            await redis.aclose()
