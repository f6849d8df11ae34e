"""The rolling hour: samples fall into buckets of equal length, so memory is bounded.

Counters become rates by their increases, as Prometheus does it: a counter that is lower than
before was reset, and what it shows now is its increase. A bucket keeps the worst of its gauges.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

N = TypeVar("N", int, float)
BUCKETS = 720  #: an hour of five seconds each


@dataclass(frozen=True, slots=True)
class Sample:
    """The bridge's numbers at one moment: counters since its start, and gauges."""

    at: float  #: seconds since the epoch
    accepted: int
    delivered: int
    failed: int
    depth: int | None  #: messages that wait
    oldest_age: float | None  #: seconds; None when nothing waits
    p50: float | None  #: seconds from accepted to delivered; None when nothing was delivered
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """What came to pass in one slice of time."""

    start: float
    elapsed: float  #: seconds that the increases below were measured over; 0: there was nothing to compare
    accepted: int
    delivered: int
    failed: int
    depth: int | None
    oldest_age: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    def rate(self, increase: int) -> float | None:
        return increase / self.elapsed if self.elapsed > 0 else None


@dataclass(frozen=True, slots=True)
class Series:
    """Columns of equal length; None where nothing was measured."""

    step: float  #: seconds between two points
    t: list[float]  #: start of each slice, seconds since the epoch
    accepted_per_second: list[float | None]
    delivered_per_second: list[float | None]
    failed_per_second: list[float | None]
    queue_depth: list[int | None]
    oldest_age_seconds: list[float | None]
    p50_seconds: list[float | None]
    p95_seconds: list[float | None]
    p99_seconds: list[float | None]


class History:
    """Buckets of the last while.

    Args:
        window: seconds to remember.
        interval: seconds between samples; a bucket is never shorter.
    """

    def __init__(self, window: float, interval: float) -> None:
        self.window = window
        self.step = max(interval, window / BUCKETS)
        self._buckets: deque[Bucket] = deque()
        self._last: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Takes a sample; one that is not newer than the last is left out."""
        if self._last is not None and sample.at <= self._last.at:
            return
        fresh = _bucket(self._last, sample, _floor(sample.at, self.step))
        if self._buckets and self._buckets[-1].start == fresh.start:
            fresh = merge(self._buckets.pop(), fresh)
        self._buckets.append(fresh)
        self._last = sample
        self.forget(sample.at)

    def forget(self, now: float) -> None:
        """Drops what is older than the window."""
        while self._buckets and self._buckets[0].start < now - self.window:
            self._buckets.popleft()

    def series(self, points: int = BUCKETS, since: float = 0.0) -> Series:
        """The remembered time in about ``points`` slices at most, from ``since`` on, as columns."""
        return _columns(self.buckets(points, since), self._step_for(points))

    def buckets(self, points: int = BUCKETS, since: float = 0.0) -> list[Bucket]:
        """The same as buckets; slices in which nothing was measured are left out."""
        step = self._step_for(points)
        found = [bucket for bucket in self._buckets if _floor(bucket.start, step) >= since]
        return list(_coarser(found, step))

    def _step_for(self, points: int) -> float:
        return self.step * max(1, -(-round(self.window / self.step) // points))


def increase(before: int, now: int) -> int:
    """How far a counter went up; it starts from zero after a restart."""
    return now - before if now >= before else now


def merge(first: Bucket, second: Bucket) -> Bucket:
    """Two slices as one: increases add up, gauges keep the worst."""
    return Bucket(
        start=first.start,
        elapsed=first.elapsed + second.elapsed,
        accepted=first.accepted + second.accepted,
        delivered=first.delivered + second.delivered,
        failed=first.failed + second.failed,
        depth=_worst(first.depth, second.depth),
        oldest_age=_worst(first.oldest_age, second.oldest_age),
        p50=_worst(first.p50, second.p50),
        p95=_worst(first.p95, second.p95),
        p99=_worst(first.p99, second.p99),
    )


def _bucket(before: Sample | None, now: Sample, start: float) -> Bucket:
    last = before or now
    return Bucket(
        start=start,
        elapsed=now.at - last.at,
        accepted=increase(last.accepted, now.accepted),
        delivered=increase(last.delivered, now.delivered),
        failed=increase(last.failed, now.failed),
        depth=now.depth,
        oldest_age=now.oldest_age,
        p50=now.p50,
        p95=now.p95,
        p99=now.p99,
    )


def _worst(first: N | None, second: N | None) -> N | None:
    known = [value for value in (first, second) if value is not None]
    return max(known, default=None)


def _floor(at: float, step: float) -> float:
    # Rounded, so that the same slice has the same start however it was reached.
    return round(at // step * step, 6)


def _coarser(buckets: Sequence[Bucket], step: float) -> Iterator[Bucket]:
    current: Bucket | None = None
    for bucket in buckets:
        moved = replace(bucket, start=_floor(bucket.start, step))
        if current is not None and current.start == moved.start:
            current = merge(current, moved)
            continue
        if current is not None:
            yield current
        current = moved
    if current is not None:
        yield current


def _columns(buckets: Sequence[Bucket], step: float) -> Series:
    rows = list(_with_gaps(buckets, step))
    return Series(
        step=step,
        t=[start for start, _ in rows],
        accepted_per_second=[b.rate(b.accepted) if b else None for _, b in rows],
        delivered_per_second=[b.rate(b.delivered) if b else None for _, b in rows],
        failed_per_second=[b.rate(b.failed) if b else None for _, b in rows],
        queue_depth=[b.depth if b else None for _, b in rows],
        oldest_age_seconds=[b.oldest_age if b else None for _, b in rows],
        p50_seconds=[b.p50 if b else None for _, b in rows],
        p95_seconds=[b.p95 if b else None for _, b in rows],
        p99_seconds=[b.p99 if b else None for _, b in rows],
    )


def _with_gaps(buckets: Sequence[Bucket], step: float) -> Iterator[tuple[float, Bucket | None]]:
    """One empty row where slices are missing, so that no line is drawn across."""
    expected: float | None = None
    for bucket in buckets:
        if expected is not None and bucket.start - expected > step / 2:
            yield expected, None
        yield bucket.start, bucket
        expected = round(bucket.start + step, 6)
