"""Reports of settled messages: metrics, spans and the owning service's observer, after the commit."""

from collections.abc import Awaitable, Callable, Sequence

import structlog

from services.kit.clock import Clock
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.messages import Settled
from services.outbox.metrics import OutboxMetrics
from services.outbox.tracing import message_spans

log = structlog.get_logger()

#: Called after each commit with the messages that it settled.
Observer = Callable[[Sequence[Settled]], Awaitable[None]]


async def ignore(_: Sequence[Settled]) -> None:
    """No observer."""


class Reports:
    """Reports what one worker has settled.

    Args:
        metrics: of the engine.
        telemetry: of the owning service.
        clock: the time.
        observer: of the owning service; what it raises is logged.
    """

    def __init__(
        self, *, metrics: OutboxMetrics, telemetry: Telemetry, clock: Clock, observer: Observer
    ) -> None:
        self._metrics = metrics
        self._telemetry = telemetry
        self._clock = clock
        self._observer = observer

    async def settled(self, batch: Sequence[Settled], lost: set[int], now: float) -> None:
        """Reports attempts of this worker.

        Args:
            batch: the messages with the results of their attempts.
            lost: numbers of those that another worker has taken over: their attempts are traced only.
            now: when they were settled, seconds since the epoch.
        """
        if not batch:
            return
        for settled in batch:
            if settled.message.seq in lost:
                log.warning("taken_over", message_id=settled.message.id, outcome=settled.result.outcome.value)
        ours = [settled for settled in batch if settled.message.seq not in lost]
        self._metrics.count(ours, now)
        message_spans.export_attempts(self._telemetry, batch, now)
        await self._observe(ours)

    async def taken_over(self, batch: Sequence[Settled]) -> None:
        """Reports the attempts of a lost worker."""
        await self.settled(batch, set(), self._clock.time())

    async def ended(self, batch: Sequence[Settled]) -> None:
        """Reports messages that ended without an attempt."""
        if not batch:
            return
        now = self._clock.time()
        self._metrics.count(batch, now)
        for settled in batch:
            message_spans.export_unattempted(self._telemetry, settled, now)
        await self._observe(batch)

    async def _observe(self, batch: Sequence[Settled]) -> None:
        try:
            await self._observer(batch)
        except Exception:
            log.exception("observer_failed")
