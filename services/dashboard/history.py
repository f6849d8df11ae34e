"""The history of the bridge's numbers in buckets of equal length, so memory is bounded. Pure.

A rate is the increase of a counter over time. As in Prometheus, a counter that is lower than before was
reset, and its value is its increase: the bridge's counters go on after a restart, and start anew only with a
new database. A bucket stores the worst value of each gauge.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

N = TypeVar("N", int, float)
BUCKETS = 720  #: an hour of five seconds each


@dataclass(frozen=True, slots=True)
class Sample:
    """The bridge's numbers at one moment: counters of all replicas, and gauges."""

    at: float  #: when they were counted, seconds since the epoch
    accepted: int
    delivered: int
    failed: int
    depth: int | None  #: waiting messages
    oldest_age: float | None  #: age of the oldest waiting message, seconds; None if there is none
    p50: float | None  #: seconds from accepted to delivered; None if no message was delivered
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The numbers of one time slice."""

    start: float
    elapsed: float  #: seconds that the increases below cover; 0: there was no earlier sample
    accepted: int
    delivered: int
    failed: int
    depth: int | None
    oldest_age: float | None
    p50: float | None
    p95: float | None
    p99: float | None

    def rate(self, increase: int) -> float | None:
        """Returns an increase per second, or None if the bucket covers no time."""
        return increase / self.elapsed if self.elapsed > 0 else None


@dataclass(frozen=True, slots=True)
class Series:
    """The history as columns of equal length; None where nothing was measured."""

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
    """The buckets of the last ``window`` seconds.

    Args:
        window: length of the history, seconds.
        interval: seconds between samples; a bucket is never shorter.
    """

    def __init__(self, window: float, interval: float) -> None:
        self.window = window
        self.step = max(interval, window / BUCKETS)
        self._buckets: deque[Bucket] = deque()
        self._last: Sample | None = None

    def add(self, sample: Sample) -> None:
        """Adds a sample; a sample that is not newer than the last one is ignored."""
        if self._last is not None and sample.at <= self._last.at:
            return
        fresh = _bucket(self._last, sample, _floor(sample.at, self.step))
        if self._buckets and self._buckets[-1].start == fresh.start:
            fresh = merge(self._buckets.pop(), fresh)
        self._buckets.append(fresh)
        self._last = sample
        self.drop_old(sample.at)

    def drop_old(self, now: float) -> None:
        """Removes buckets older than the window; ``now`` is seconds since the epoch."""
        while self._buckets and self._buckets[0].start < now - self.window:
            self._buckets.popleft()

    def series(self, points: int = BUCKETS, since: float = 0.0) -> Series:
        """Returns the history from ``since`` on in about ``points`` slices at most, as columns."""
        return _columns(self.buckets(points, since), self._step_for(points))

    def buckets(self, points: int = BUCKETS, since: float = 0.0) -> list[Bucket]:
        """Returns the same as buckets, without the slices in which nothing was measured."""
        step = self._step_for(points)
        found = [bucket for bucket in self._buckets if _floor(bucket.start, step) >= since]
        return list(_coarser(found, step))

    def _step_for(self, points: int) -> float:
        return self.step * max(1, -(-round(self.window / self.step) // points))


def increase(before: int, now: int) -> int:
    """Returns the increase of a counter; a lower value means that it restarted from zero."""
    return now - before if now >= before else now


def merge(first: Bucket, second: Bucket) -> Bucket:
    """Merges two slices: increases add up, gauges take the worst value."""
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
    # Rounded, so that a slice has the same start however it was computed.
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
    """Yields one empty row for missing slices, so that charts have a gap there."""
    expected: float | None = None
    for bucket in buckets:
        if expected is not None and bucket.start - expected > step / 2:
            yield expected, None
        yield bucket.start, bucket
        expected = round(bucket.start + step, 6)
