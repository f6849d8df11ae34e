"""What tracking counts."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

PRUNED = (
    "message",
    "attempt",
    "change",
    "event",
    "idempotency",
    "job",
    "webhook_call",
    "approval",
    "response",
)


class TrackingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.cancelled = Counter(
            "cctelegram_cancelled_messages", "Messages taken back by a caller", registry=registry
        )
        self.replayed = Counter(
            "cctelegram_replayed_messages", "Messages put back into the queue by a caller", registry=registry
        )
        self.followers = Gauge("cctelegram_stream_clients", "Open streams of changes", registry=registry)
        self.dropped = Counter(
            "cctelegram_stream_clients_dropped",
            "Streams ended since their reader was slow",
            registry=registry,
        )
        self.archived = Counter(
            "cctelegram_archived_messages", "Messages moved into the archive", registry=registry
        )
        self.pruned = Counter(
            "cctelegram_pruned_rows", "Rows deleted by the retention", ["table"], registry=registry
        )
        self.retention_failures = Counter(
            "cctelegram_retention_failures", "Runs of the retention that failed", registry=registry
        )
        for table in PRUNED:
            self.pruned.labels(table)
        self.retention_age = RetentionAge()
        registry.register(self.retention_age)


class RetentionAge(Collector):
    """Seconds since the retention last came through; no sample before it ever has."""

    def __init__(self) -> None:
        self.measure: Callable[[], float | None] = lambda: None

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "cctelegram_retention_last_success_age_seconds", "Since the retention last came through"
        )
        age = self.measure()
        if age is not None:
            family.add_metric([], age)
        yield family
