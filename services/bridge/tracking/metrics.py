"""Metrics of message tracking: cancels, replays, change streams, archive and retention."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

#: The tables that retention deletes from.
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
    "repeats",
    "digest",
    "file",
)


class TrackingMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.cancelled = Counter(
            "cctelegram_cancelled_messages", "Messages cancelled by a client", registry=registry
        )
        self.replayed = Counter(
            "cctelegram_replayed_messages", "Messages replayed by a client", registry=registry
        )
        self.followers = Gauge(
            "cctelegram_stream_clients",
            "Change streams (server-sent events) that are open",
            registry=registry,
        )
        self.dropped = Counter(
            "cctelegram_stream_clients_dropped",
            "Change streams closed because their client read too slowly",
            registry=registry,
        )
        self.archived = Counter(
            "cctelegram_archived_messages", "Messages moved to the archive", registry=registry
        )
        self.pruned = Counter(
            "cctelegram_pruned_rows", "Rows deleted by retention, by table", ["table"], registry=registry
        )
        self.deduplicated = Counter(
            "cctelegram_events_deduplicated",
            "Events that were counted at the first event with their dedup_key, and not sent",
            registry=registry,
        )
        self.digested = Counter(
            "cctelegram_messages_digested",
            "Messages that were combined into the message of a digest",
            registry=registry,
        )
        self.retention_failures = Counter(
            "cctelegram_retention_failures", "Retention runs that failed", registry=registry
        )
        for table in PRUNED:
            self.pruned.labels(table)
        self.retention_age = RetentionAge()
        registry.register(self.retention_age)


class RetentionAge(Collector):
    """Seconds since the last successful retention run; no sample before the first one."""

    def __init__(self) -> None:
        self.measure: Callable[[], float | None] = lambda: None

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(
            "cctelegram_retention_last_success_age_seconds", "Time since the last successful retention run"
        )
        age = self.measure()
        if age is not None:
            family.add_metric([], age)
        yield family
