"""Counters and histograms that cost little, and a registry that shows them to Prometheus.

prometheus_client takes a lock for each count, and makes several objects for each line of each scrape
(docs/performance.md). Here a count is appended to a list and added up later, many at a time; and the
lines of a series that did not change are those of the scrape before. Names and text are the same.
"""

import threading
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

#: So many values wait to be added up, at most.
MOST_WAITING = 512


class _Series(ABC):
    """The values of one set of labels. Any thread may note one: only a list is appended to."""

    __slots__ = ("_labels", "_lines", "_lock", "_name", "_waiting")

    def __init__(self, name: str, labels: str) -> None:
        self._name, self._labels = name, labels
        self._waiting: list[float] = []
        self._lock = threading.Lock()
        self._lines = ""

    def _relieve(self) -> None:
        """Adds up what waits, where that has become much."""
        if len(self._waiting) >= MOST_WAITING:
            with self._lock:
                self._add_up()

    def _add_up(self) -> None:
        # Whatever is appended between these two lines stays for the next time.
        values = self._waiting[:]
        del self._waiting[: len(values)]
        if values:
            self._add(values)
            self._lines = ""

    def lines(self) -> str:
        """In Prometheus's text format; the same in OpenMetrics."""
        with self._lock:
            self._add_up()
            self._lines = self._lines or self._written()
            return self._lines

    @abstractmethod
    def _add(self, values: list[float]) -> None: ...
    @abstractmethod
    def _written(self) -> str: ...


class Count(_Series):
    """One series of a :class:`Counter`."""

    __slots__ = ("_total",)

    def __init__(self, name: str, labels: str) -> None:
        super().__init__(name, labels)
        self._total = 0.0

    def inc(self, amount: float = 1) -> None:
        if amount < 0:
            raise ValueError("A counter only goes up.")
        waiting = self._waiting
        waiting.append(amount)
        if len(waiting) >= MOST_WAITING:
            self._relieve()

    def total(self) -> float:
        with self._lock:
            self._add_up()
            return self._total

    def _add(self, values: list[float]) -> None:
        self._total += sum(values)

    def _written(self) -> str:
        labels = f"{{{self._labels}}}" if self._labels else ""
        return f"{self._name}_total{labels} {_number(self._total)}\n"


class Distribution(_Series):
    """One series of a :class:`Histogram`."""

    __slots__ = ("_bounds", "_counts", "_sum", "_written_bounds")

    def __init__(self, name: str, labels: str, bounds: Sequence[float]) -> None:
        super().__init__(name, labels)
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        before = f"{labels}," if labels else ""
        self._written_bounds = [
            f'{name}_bucket{{{before}le="{_number(bound)}"}} ' for bound in (*bounds, float("inf"))
        ]

    def observe(self, value: float) -> None:
        waiting = self._waiting
        waiting.append(value)
        if len(waiting) >= MOST_WAITING:
            self._relieve()

    def observe_all(self, values: Iterable[float]) -> None:
        self._waiting.extend(values)
        self._relieve()

    def state(self) -> tuple[list[tuple[str, float]], float]:
        """(upper bound, how many up to it) of each bucket, and the sum of the values."""
        with self._lock:
            self._add_up()
            bounds = (*map(_number, self._bounds), "+Inf")
            return list(zip(bounds, self._cumulated(), strict=True)), self._sum

    def _add(self, values: list[float]) -> None:
        values.sort()
        begin = 0
        for number, bound in enumerate(self._bounds):
            end = bisect_right(values, bound, begin)
            self._counts[number] += end - begin
            begin = end
        self._counts[-1] += len(values) - begin
        self._sum += sum(values)

    def _cumulated(self) -> Iterator[float]:
        count = 0.0
        for number in self._counts:
            count += number
            yield count

    def _written(self) -> str:
        counts = [_number(count) for count in self._cumulated()]
        labels = f"{{{self._labels}}}" if self._labels else ""
        buckets = (f"{bound}{count}\n" for bound, count in zip(self._written_bounds, counts, strict=True))
        return (
            f"{''.join(buckets)}{self._name}_count{labels} {counts[-1]}\n"
            f"{self._name}_sum{labels} {_number(self._sum)}\n"
        )


S = TypeVar("S", bound=_Series)


class Meter(Collector, ABC, Generic[S]):
    """A metric of a :class:`Registry`, with a series for each set of labels.

    Args:
        name: without ``_total``.
        said: what is counted.
        labels: their names.
        registry: that shows it.
    """

    kind: str
    #: What prometheus_client's text format puts behind the name of the whole.
    suffix = ""

    def __init__(
        self, name: str, said: str, labels: Sequence[str] = (), *, registry: CollectorRegistry
    ) -> None:
        self.name, self.said = name, said
        self._label_names = tuple(labels)
        self._series: dict[tuple[str, ...], S] = {}
        self._lock = threading.Lock()
        if not labels:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> S:
        """The series of these values; bind it once where it counts often."""
        found = self._series.get(values)
        return found if found is not None else self._make(values)

    def _make(self, values: tuple[str, ...]) -> S:
        if len(values) != len(self._label_names):
            raise ValueError(f"{self.name} has the labels {self._label_names}.")
        pairs = sorted(zip(self._label_names, values, strict=True))
        labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in pairs)
        with self._lock:
            return self._series.setdefault(values, self._new(labels))

    def text(self, *, openmetrics: bool) -> str:
        """All lines, as prometheus_client would write them."""
        name = self.name if openmetrics else f"{self.name}{self.suffix}"
        said = _escaped(self.said)
        said = said if openmetrics else said.replace('\\"', '"')
        head = f"# HELP {name} {said}\n# TYPE {name} {self.kind}\n"
        return head + "".join(series.lines() for series in list(self._series.values()))

    def describe(self) -> Iterator[Metric]:
        yield Metric(self.name, self.said, self.kind)

    @abstractmethod
    def collect(self) -> Iterator[Metric]: ...
    @abstractmethod
    def _new(self, labels: str) -> S: ...


class Counter(Meter[Count]):
    kind = "counter"
    suffix = "_total"

    def inc(self, amount: float = 1) -> None:
        """Where there are no labels."""
        self.labels().inc(amount)

    def total(self) -> float:
        """Of all series."""
        return sum(series.total() for series in list(self._series.values()))

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self.name, self.said, labels=self._label_names)
        for values, series in list(self._series.items()):
            family.add_metric(values, series.total())
        yield family

    def _new(self, labels: str) -> Count:
        return Count(self.name, labels)


class Histogram(Meter[Distribution]):
    """See :class:`Meter`.

    Args:
        buckets: upper bounds, rising; the last one, infinity, comes by itself.
    """

    kind = "histogram"

    def __init__(
        self,
        name: str,
        said: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._bounds = tuple(float(bound) for bound in buckets)
        super().__init__(name, said, labels, registry=registry)

    def observe(self, value: float) -> None:
        """Where there are no labels."""
        self.labels().observe(value)

    def observe_all(self, values: Iterable[float]) -> None:
        """Where there are no labels."""
        self.labels().observe_all(values)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self.name, self.said, labels=self._label_names)
        for values, series in list(self._series.items()):
            buckets, total = series.state()
            family.add_metric(values, buckets, total)
        yield family

    def _new(self, labels: str) -> Distribution:
        return Distribution(self.name, labels, self._bounds)


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call] # Prometheus's spelling: 1e+06


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


class Registry(CollectorRegistry):
    """Shows its meters fast, and everything else as prometheus_client does."""

    def __init__(self) -> None:
        super().__init__()
        self._meters: list[Meter[Count] | Meter[Distribution]] = []
        self._others = CollectorRegistry()

    def register(self, collector: Collector) -> None:
        super().register(collector)
        if isinstance(collector, Meter):
            self._meters.append(collector)
        else:
            self._others.register(collector)

    def exposed(self, accept: str) -> tuple[bytes, str]:
        """All metrics, and the content type that the ``Accept`` header asks for."""
        encode, content_type = choose_encoder(accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        ours = "".join(meter.text(openmetrics=openmetrics) for meter in self._meters)
        # OpenMetrics ends with a line of its own, which comes with the others.
        return ours.encode() + encode(self._others), content_type
