"""The metrics of alert-relay; every series of a counter exists from the start."""

from collections.abc import Callable, Iterable
from enum import StrEnum

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from services.alert_relay.channels.target import Channel
from services.alert_relay.incidents.store import ResolvedIncident
from services.kit.clock import Clock
from services.kit.telemetry.buckets import MILLISECONDS_TO_A_DAY, SECONDS_TO_A_MONTH


class NotificationOutcome(StrEnum):
    """The final outcome of a notification to one recipient."""

    DELIVERED = "delivered"
    FAILED = "failed"
    SUPPRESSED = "suppressed"  #: not tried, since the chat has refused the bot
    UNKNOWN = "unknown"  #: sent, but Telegram's answer is missing
    UNREPORTED = "unreported"  #: failed, and about failures: the rule that raised it does not count it


class TruncatedOutcome(StrEnum):
    """The outcome for alerts that a webhook left out."""

    FETCHED = "fetched"
    MISSED = "missed"  #: Alertmanager is not configured, or gave no answer


class EscalationCause(StrEnum):
    """Why an incident was escalated."""

    UNACKNOWLEDGED = "unacknowledged"  #: no person acknowledged it in the time of its level
    UNDELIVERED = "undelivered"  #: no notification of its level arrived
    REQUESTED = "requested"  #: a person escalated it


class HeldBack(StrEnum):
    """Why people did not get a notification."""

    MAINTENANCE = "maintenance"  #: a maintenance window matched the alerts
    THROTTLED = "throttled"  #: they got one of the same incident a short time before


#: Upper limits of the buckets of alerts in an incident.
ALERTS = (1, 2, 5, 10, 50, 100, 1_000)
STATUSES = ("firing", "resolved")
CHANNELS = tuple(channel.value for channel in Channel)
#: Levels of escalation whose series exist from the start.
LEVELS = 4
#: The tables that the retention deletes rows from.
TABLES = (
    *("webhook", "receiver", "incident", "episode", "entry", "notification", "timer", "audience"),
    *("maintenance_window", "last_sound", "weekly_digest"),
    *("event", "message", "attempt", "change"),
)


class RelayMetrics:
    """Counts of alerts, incidents, notifications and retention.

    Args:
        registry: of the service.
        clock: the time that ages are measured by.
    """

    def __init__(self, registry: CollectorRegistry, clock: Clock) -> None:
        self.received = Counter(
            "cctelegram_alerts_received",
            "Alerts listed in stored webhooks, by status",
            ["status"],
            registry=registry,
        )
        self.unreadable = Counter(
            "cctelegram_alerts_unreadable",
            "Alerts listed in stored webhooks that could not be read",
            registry=registry,
        )
        self.left_out = Counter(
            "cctelegram_alerts_left_out",
            "Alerts that a webhook left out because of max_alerts: new ones that were fetched, and missed",
            ["outcome"],
            registry=registry,
        )
        self.incidents = Gauge(
            "cctelegram_incidents",
            "Incidents, by state; no sample before they are counted",
            ["state"],
            registry=registry,
        )
        self.notifications = Counter(
            "cctelegram_notifications",
            "Notifications finished, one a recipient, by channel and outcome",
            ["channel", "outcome"],
            registry=registry,
        )
        self.held_back = Counter(
            "cctelegram_notifications_held_back",
            "Notifications of incidents that people did not get, by cause",
            ["cause"],
            registry=registry,
        )
        self.windows = Gauge(
            "cctelegram_maintenance_windows",
            "Maintenance windows that are active; no sample before they are counted",
            registry=registry,
        )
        self.delay = Histogram(
            "cctelegram_notification_delay_seconds",
            "Time from receiving an alert to the channel confirming delivery of its notification",
            buckets=MILLISECONDS_TO_A_DAY,
            registry=registry,
        )
        self.resolve = Histogram(
            "cctelegram_incident_resolve_seconds",
            "Time from the start of an incident's first alert to the end of its last alert",
            buckets=SECONDS_TO_A_MONTH,
            registry=registry,
        )
        self.ack = Histogram(
            "cctelegram_incident_ack_seconds",
            "Time from the opening of an incident to its first acknowledgement",
            buckets=SECONDS_TO_A_MONTH,
            registry=registry,
        )
        self.never_acknowledged = Counter(
            "cctelegram_incidents_never_acknowledged",
            "Incidents that were resolved without an acknowledgement",
            registry=registry,
        )
        self.alerts_per_incident = Histogram(
            "cctelegram_alerts_per_incident",
            "Alerts of an incident when it is resolved",
            buckets=ALERTS,
            registry=registry,
        )
        self.escalations = Counter(
            "cctelegram_escalations",
            "Levels of escalation that incidents reached, by level and outcome: the cause of the escalation",
            ["level", "outcome"],
            registry=registry,
        )
        self.fallbacks = Counter(
            "cctelegram_fallbacks",
            "Targets that were notified because no notification had arrived; none: there were no more",
            ["channel"],
            registry=registry,
        )
        self.escalations_stuck = Gauge(
            "cctelegram_escalations_stuck",
            "Firing incidents whose next level of escalation is overdue or has no timer",
            registry=registry,
        )
        self.pruned = Counter(
            "cctelegram_pruned_rows", "Rows deleted by retention, by table", ["table"], registry=registry
        )
        self.retention_failures = Counter(
            "cctelegram_retention_failures", "Retention runs that failed", registry=registry
        )
        self.reconciled = AgeByCluster(clock)
        registry.register(self.reconciled)
        self.watchdog = Age(clock, _watchdog_family)
        self.retention = Age(clock, _retention_family)
        registry.register(self.watchdog)
        registry.register(self.retention)
        for table in TABLES:
            self.pruned.labels(table)
        for status in STATUSES:
            self.received.labels(status)
        for truncated in TruncatedOutcome:
            self.left_out.labels(truncated.value)
        for level in range(1, LEVELS + 1):
            for why in EscalationCause:
                self.escalations.labels(str(level), why.value)
        for channel in (*CHANNELS, "none"):
            self.fallbacks.labels(channel)
        for cause in HeldBack:
            self.held_back.labels(cause.value)
        for channel in CHANNELS:
            for outcome in NotificationOutcome:
                self.notifications.labels(channel, outcome.value)

    def record_resolved(self, resolved: Iterable[ResolvedIncident]) -> None:
        """Counts incidents that a transaction resolved."""
        for each in resolved:
            self.resolve.observe(each.seconds)
            self.alerts_per_incident.observe(each.alerts)
            if not each.acknowledged:
                self.never_acknowledged.inc()


def _watchdog_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "cctelegram_watchdog_age_seconds", "Time since Alertmanager last sent the Watchdog alert"
    )


def _retention_family() -> GaugeMetricFamily:
    return GaugeMetricFamily(
        "cctelegram_retention_last_success_age_seconds", "Time since the last successful retention run"
    )


class AgeByCluster(Collector):
    """Gauge of the seconds since a cluster's alerts were last read, or since they should be."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: By cluster, when all its Alertmanagers last answered, seconds since the epoch.
        self.read_at: dict[str, float] = {}

        self._started_at: dict[str, float] = {}

    def start(self, cluster: str) -> None:
        """Counts from now on, if the cluster is never read."""
        self._started_at[cluster] = self._clock.time()

    def beat(self, cluster: str, at: float) -> None:
        self.read_at[cluster] = at

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            "cctelegram_reconcile_age_seconds",
            "Time since all Alertmanagers of a cluster last answered with their alerts, or since the start",
            labels=["cluster"],
        )
        for cluster, at in (self._started_at | self.read_at).items():
            family.add_metric([cluster], max(0.0, self._clock.time() - at))
        return [family]


class Age(Collector):
    """Gauge of the seconds since an event; it has no sample until the first event."""

    def __init__(self, clock: Clock, family: Callable[[], GaugeMetricFamily]) -> None:
        self._clock = clock
        self._family = family
        self.beat_at: float | None = None

    def beat(self, at: float | None) -> None:
        if at is not None:
            self.beat_at = max(at, self.beat_at or at)

    def age(self) -> float | None:
        """Seconds."""
        return None if self.beat_at is None else max(0.0, self._clock.time() - self.beat_at)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = self._family()
        age = self.age()
        if age is not None:
            family.add_metric([], age)
        return [family]
