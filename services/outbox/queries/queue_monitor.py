"""Queue monitor: measures the queue's depth and the rates of the last hour, for metrics and health."""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement
from services.outbox.messages import FAILED, MessageState, Settled
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import queue_depth
from services.outbox.queries.queue_depth import QueueDepth
from services.outbox.queries.rolling_counts import HOUR, RollingCounts

INTERVAL_SECONDS = 1.0
#: The count of a long queue is slow: the share of time that it may take, at most.
BUSY_SHARE = 0.05
#: Age of the oldest due message from which the queue is degraded.
SLOW_QUEUE_SECONDS = 60.0


class QueueMonitor:
    """Measures the queue of one service's engine.

    Attributes:
        counts: what this process accepted and finished, and what all replicas finished before its start.
        depth: the queue of all replicas, as measured last; None before the first time.
    """

    def __init__(self, database: Database, metrics: OutboxMetrics, clock: Clock) -> None:
        self.counts = RollingCounts()
        self.depth: QueueDepth | None = None
        self._database = database
        self._metrics = metrics
        self._clock = clock

    @property
    def oldest_age(self) -> float | None:
        """Seconds since the oldest waiting message became due; None when none waits."""
        oldest = self.depth.oldest if self.depth else None
        return None if oldest is None else max(0.0, self._clock.time() - oldest)

    def count_finished(self, batch: Sequence[Settled]) -> None:
        """Counts the messages of a batch that were delivered or failed."""
        now = self._clock.time()
        for settled in batch:
            if settled.decision.state is MessageState.DELIVERED:
                self.counts.delivered(now, now - settled.message.entered_at)
            elif settled.decision.state in FAILED:
                self.counts.failed(now)

    async def run(self) -> None:
        """Measures every second, or less often where that takes long; until cancelled."""
        restored = False
        while True:
            start = time.perf_counter()
            with suppress_and_log("queue_measure_failed"):
                if not restored:
                    await self._restore()
                    restored = True
                await self._measure()
            took = time.perf_counter() - start
            await asyncio.sleep(max(INTERVAL_SECONDS, took / BUSY_SHARE))

    async def _restore(self) -> None:
        finished = partial(queue_depth.finished_since, since=self._clock.time() - HOUR)
        self.counts.restore(await self._database.read("depth", finished))

    async def _measure(self) -> None:
        self.depth = await self._database.read("depth", partial(queue_depth.measure, now=self._clock.time()))
        for state, number in self.depth.by_state.items():
            self._metrics.queue_depth.labels(state).set(number)
        self._metrics.oldest_age.set(self.oldest_age or 0.0)
        self._metrics.active_correlations.set(self.depth.correlations)
        self._metrics.delivery_rate.percent = self.counts.delivery_rate_percent(self._clock.time())

    async def check(self) -> Measurement:
        """Health probe: degraded when the oldest due message has waited for more than a minute."""
        if self.depth is None:
            return Measurement(Level.UNKNOWN)
        age = self.oldest_age
        _, delivered = self.counts.per_second(self._clock.time())
        return Measurement(
            Level.DEGRADED if age is not None and age > SLOW_QUEUE_SECONDS else Level.HEALTHY,
            {
                "queue_depth": self.depth.waiting,
                "oldest_message_age_seconds": round(age, 1) if age is not None else 0.0,
                "processing_rate": f"{delivered:.1f}/sec",
            },
        )
