"""Counts of the last hour by second, and what they say: rates, delivery rate, quantiles. Pure.

The seconds come from the tables, so every replica has the same counts, also after a restart. They count
finished messages only; while none finished there is no delivery rate.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

HOUR = 3600
RATE_WINDOW = 60


@dataclass(frozen=True, slots=True)
class Second:
    """Counts of one second; ``at`` is whole seconds since the epoch."""

    at: int
    accepted: int = 0
    delivered: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds from acceptance to delivery."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class LastHour:
    """What happened to the messages of all replicas.

    Args:
        accepted_per_second: mean of the last whole minute.
        delivered_per_second: mean of the last whole minute.
        delivery_rate_percent: delivered of finished messages; None while none finished.
        quantiles: of the newest deliveries; None while nothing was delivered.
    """

    accepted_per_second: float
    delivered_per_second: float
    delivery_rate_percent: float | None
    quantiles: Quantiles | None


@dataclass(slots=True)
class RollingCounts:
    """Counts of the last hour, by second."""

    _seconds: deque[Second] = field(default_factory=deque)

    def replace(self, since: int, seconds: Iterable[Second]) -> None:
        """Replaces all counts from a second on; the new ones are given oldest first."""
        while self._seconds and self._seconds[-1].at >= since:
            self._seconds.pop()
        self._seconds.extend(seconds)

    def last_hour(self, now: float, durations: Sequence[float]) -> LastHour:
        """Returns what the counts say.

        Args:
            now: seconds since the epoch; older counts than an hour are dropped.
            durations: seconds from acceptance to delivery, of the newest deliveries in any order.
        """
        while self._seconds and self._seconds[0].at <= now - HOUR:
            self._seconds.popleft()
        minute = [second for second in self._seconds if int(now) - RATE_WINDOW <= second.at < int(now)]
        return LastHour(
            sum(second.accepted for second in minute) / RATE_WINDOW,
            sum(second.delivered for second in minute) / RATE_WINDOW,
            self._delivery_rate_percent(),
            quantiles(durations),
        )

    def _delivery_rate_percent(self) -> float | None:
        delivered = sum(second.delivered for second in self._seconds)
        finished = delivered + sum(second.failed for second in self._seconds)
        return 100.0 * delivered / finished if finished else None


def quantiles(durations: Sequence[float]) -> Quantiles | None:
    """Returns the quantiles of durations in seconds; None where there are none."""
    ordered = sorted(durations)
    if not ordered:
        return None
    return Quantiles(*(ordered[min(len(ordered) - 1, int(len(ordered) * q))] for q in (0.5, 0.95, 0.99)))
