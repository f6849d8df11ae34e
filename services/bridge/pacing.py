"""The bots' rates: shared by the replicas where there is a Redis, else this process's own."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from services.bridge.bots import Bot
from services.kit.clock import Clock
from services.kit.health import Health, Level, Reading
from services.outbox import shared_pace
from services.outbox.engine import owner_name
from services.outbox.limiter import BotPace, Pace
from services.outbox.shared_pace import SharedPace


@dataclass(frozen=True, slots=True)
class Paces:
    """A bot's rate, and what its bulk lane may send beyond that; None: nothing."""

    free: Pace
    paid: Pace | None


@asynccontextmanager
async def open_paces(
    redis_url: str, bots: Mapping[str, Bot], clock: Clock, health: Health
) -> AsyncIterator[dict[str, Paces]]:
    """The rates of all bots by name, for the length of the block; each is apart from the others."""
    if not redis_url:
        health.add("redis_connection", _not_configured)
        yield {name: Paces(BotPace(_free(bot), clock), _own_paid(bot, clock)) for name, bot in bots.items()}
        return
    redis = shared_pace.connect(redis_url)
    replica = owner_name()
    all_of_them: list[SharedPace] = []

    def shared(name: str, per_second: float) -> SharedPace:
        all_of_them.append(SharedPace(redis, name, replica, per_second, clock))
        return all_of_them[-1]

    paces = {
        name: Paces(
            shared(name, _free(bot)),
            shared(f"{name}:paid", bot.paid_beyond) if bot.paid_beyond else None,
        )
        for name, bot in bots.items()
    }

    async def check() -> Reading:
        await redis.ping()
        pool = redis.connection_pool
        free = pool.max_connections - len(pool._in_use_connections)  # noqa: SLF001 - the pool tells it nowhere else
        return _reading(all_of_them, f"{free}/{pool.max_connections}")

    health.add("redis_connection", check)
    try:
        yield paces
    finally:
        await redis.aclose()


def _free(bot: Bot) -> float:
    return bot.limits.bot_per_second


def _own_paid(bot: Bot, clock: Clock) -> Pace | None:
    return BotPace(bot.paid_beyond, clock) if bot.paid_beyond else None


def _reading(paces: Sequence[SharedPace], pool: str) -> Reading:
    level = Level.HEALTHY if all(pace.shared for pace in paces) else Level.DEGRADED
    return Reading(level, {"connection_pool": pool, "replicas": max(pace.replicas for pace in paces)})


async def _not_configured() -> Reading:
    return Reading(Level.UNKNOWN, {"reason": "not configured (REDIS_URL): the rate is this process's own"})
