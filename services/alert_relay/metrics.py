"""What the relay counts, by the names of the contracts; every series is there from the start."""

from collections.abc import Iterable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.alert_relay.incidents import State
from services.kit.clock import Clock


class Ending(StrEnum):
    """How a notification to one recipient ended; a retry is no end."""

    DELIVERED = "delivered"
    FAILED = "failed"
    UNKNOWN = "unknown"  #: sent, but no answer came


STATUSES = ("firing", "resolved")
CHANNELS = ("telegram",)


class RelayMetrics:
    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.received = Counter(
            "cctelegram_alerts_received", "Alerts listed in stored webhooks", ["status"], registry=registry
        )
        self.incidents = Gauge("cctelegram_incidents", "Incidents by state", ["state"], registry=registry)
        self.notifications = Counter(
            "cctelegram_notifications",
            "Notifications that came to an end, one for each recipient",
            ["channel", "outcome"],
            registry=registry,
        )
        self.delay = Histogram(
            "cctelegram_notification_delay_seconds",
            "From the webhook to the channel's answer that it is delivered",
            buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 3600),
            registry=registry,
        )
        self.resolve = Histogram(
            "cctelegram_incident_resolve_seconds",
            "From the start of an incident's first alert to the end of its last",
            buckets=(60, 300, 900, 1800, 3600, 4 * 3600, 12 * 3600, 86_400, 7 * 86_400),
            registry=registry,
        )
        self.watchdog = Watchdog(clock)
        registry.register(self.watchdog)
        for status in STATUSES:
            self.received.labels(status)
        for state in State:
            self.incidents.labels(state.value)
        for channel in CHANNELS:
            for ending in Ending:
                self.notifications.labels(channel, ending.value)


class Watchdog(Collector):
    """The age of the last sign of life; without one there is no sample, not even a zero."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.beat_at: float | None = None

    def beat(self, at: float | None) -> None:
        if at is not None:
            self.beat_at = max(at, self.beat_at or at)

    def age(self) -> float | None:
        """Seconds."""
        return None if self.beat_at is None else max(0.0, self._clock.time() - self.beat_at)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "cctelegram_watchdog_age_seconds", "Since the Watchdog alert came last through Alertmanager"
        )
        age = self.age()
        if age is not None:
            family.add_metric([], age)
        return [family]
