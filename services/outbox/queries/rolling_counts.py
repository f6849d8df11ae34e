"""Rolling counts of the last hour: messages a second, the delivery rate, and quantiles of the latency. Pure.

They count finished messages only; while none finished there is no delivery rate.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

HOUR = 3600
RATE_WINDOW = 60
RECENT_DELIVERIES = 2_000


@dataclass(slots=True)
class Second:
    """Counts of one second; ``at`` is whole seconds since the epoch."""

    at: int
    accepted: int = 0
    delivered: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds from acceptance to delivery, over the last :data:`RECENT_DELIVERIES`."""

    p50: float
    p95: float
    p99: float


@dataclass(slots=True)
class RollingCounts:
    """Counts of the last hour, by second."""

    _seconds: deque[Second] = field(default_factory=deque)
    _durations: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_DELIVERIES))

    def accepted(self, now: float, count: int) -> None:
        self._second(now).accepted += count

    def delivered(self, now: float, seconds: float) -> None:
        self._second(now).delivered += 1
        self._durations.append(seconds)

    def failed(self, now: float) -> None:
        self._second(now).failed += 1

    def restore(self, history: Iterable[tuple[int, int, int]]) -> None:
        """Adds (second, delivered, failed), oldest first, of the time before the first count here."""
        known_from = self._seconds[0].at if self._seconds else None
        self._seconds.extendleft(
            Second(at, 0, delivered, failed)
            for at, delivered, failed in reversed(list(history))
            if known_from is None or at < known_from
        )

    def per_second(self, now: float) -> tuple[float, float]:
        """Returns accepted and delivered messages a second, over the last whole minute."""
        window = [s for s in self._seconds if int(now) - RATE_WINDOW <= s.at < int(now)]
        return (
            sum(s.accepted for s in window) / RATE_WINDOW,
            sum(s.delivered for s in window) / RATE_WINDOW,
        )

    def delivery_rate_percent(self, now: float) -> float | None:
        """Returns delivered of finished messages over the last hour; None while none finished."""
        self._drop_old(now)
        delivered = sum(s.delivered for s in self._seconds)
        finished = delivered + sum(s.failed for s in self._seconds)
        return 100.0 * delivered / finished if finished else None

    def quantiles(self) -> Quantiles | None:
        """Returns the quantiles of the latency; None while nothing was delivered."""
        ordered = sorted(self._durations)
        if not ordered:
            return None
        return Quantiles(*(ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99)))

    def _second(self, now: float) -> Second:
        at = int(now)
        if not self._seconds or self._seconds[-1].at < at:
            self._drop_old(now)
            self._seconds.append(Second(at))
        return self._seconds[-1]

    def _drop_old(self, now: float) -> None:
        while self._seconds and self._seconds[0].at <= now - HOUR:
            self._seconds.popleft()
