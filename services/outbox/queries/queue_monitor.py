"""Queue monitor: measures the queue's depth and the rates of the last hour, for metrics and health."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import last_hour, queue_depth
from services.outbox.queries.queue_depth import QueueDepth
from services.outbox.queries.rolling_counts import HOUR, LastHour, RollingCounts, Second

INTERVAL_SECONDS = 1.0
#: The count of a long queue is slow: the share of time that it may take, at most.
BUSY_SHARE = 0.05
#: Age of the oldest due message from which the queue is degraded.
SLOW_QUEUE_SECONDS = 60.0
#: The newest seconds are read again each time: a transaction may commit so long after the times that it
#: writes, and the clocks of replicas may differ by so much.
UNSETTLED_SECONDS = 10


class QueueMonitor:
    """Measures the queue of one service's engine. All numbers are those of the database: of all replicas.

    Attributes:
        depth: the queue, as measured last; None before the first time.
        last_hour: the rates, as measured last; None before the first time.
    """

    def __init__(self, database: Database, metrics: OutboxMetrics, clock: Clock) -> None:
        self.depth: QueueDepth | None = None
        self.last_hour: LastHour | None = None
        self._counts = RollingCounts()
        self._counted_at: float | None = None
        self._deliveries: Sequence[tuple[float, float]] = ()
        self._database = database
        self._metrics = metrics
        self._clock = clock
        metrics.queue.oldest_age = lambda: self.oldest_age

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the oldest waiting message became due; None when none waits."""
        oldest = self.depth.oldest if self.depth else None
        return None if oldest is None else max(0.0, self._clock.time() - oldest)

    async def run(self) -> None:
        """Measures every second, or less often where that takes long; until cancelled."""
        while True:
            start = time.perf_counter()
            with suppress_and_log("queue_measure_failed"):
                await self._measure()
            took = time.perf_counter() - start
            await asyncio.sleep(max(INTERVAL_SECONDS, took / BUSY_SHARE))

    async def _measure(self) -> None:
        now = self._clock.time()
        found = await self._database.read("depth", partial(_read, since=self._unsettled_since(now), now=now))
        self._counts.replace(found.since, found.seconds)
        self._counted_at, self.depth = now, found.depth
        self._deliveries = found.deliveries or self._deliveries
        durations = [seconds for at, seconds in self._deliveries if at > now - HOUR]
        self.last_hour = self._counts.last_hour(now, durations)
        self._metrics.queue.depth = self.depth.by_state, self.depth.correlations
        self._metrics.delivery_rate.percent = self.last_hour.delivery_rate_percent

    def _unsettled_since(self, now: float) -> int:
        """The first second to read; all of the hour where nothing was read yet."""
        if self._counted_at is None:
            return int(now) - HOUR
        return int(min(now, self._counted_at)) - UNSETTLED_SECONDS

    async def check(self) -> Measurement:
        """Health probe: degraded when the oldest due message has waited for more than a minute."""
        if self.depth is None or self.last_hour is None:
            return Measurement(Level.UNKNOWN)
        age = self.oldest_age
        return Measurement(
            Level.DEGRADED if age is not None and age > SLOW_QUEUE_SECONDS else Level.HEALTHY,
            {
                "queue_depth": self.depth.waiting,
                "oldest_message_age_seconds": round(age, 1) if age is not None else 0.0,
                "processing_rate": f"{self.last_hour.delivered_per_second:.1f}/sec",
            },
        )


@dataclass(frozen=True, slots=True)
class _Found:
    """One measurement.

    Args:
        depth: of the queue.
        since: the first second of the counts.
        seconds: the counts.
        deliveries: time and duration of the newest ones; empty where none is in the counts.
    """

    depth: QueueDepth
    since: int
    seconds: Sequence[Second]
    deliveries: Sequence[tuple[float, float]]


def _read(connection: Connection, since: int, now: float) -> _Found:
    seconds = last_hour.seconds_since(connection, since)
    has_new = any(second.delivered for second in seconds)
    deliveries = last_hour.deliveries_since(connection, now - HOUR) if has_new else ()
    return _Found(queue_depth.measure(connection, now), since, seconds, deliveries)
