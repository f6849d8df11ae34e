"""Decides which alerts the relay raises itself, because a Watchdog alert is overdue. Pure.

The Watchdog alert always fires, so it shows that Prometheus and Alertmanager work. If it stops, no other
alert can be trusted to arrive, and neither program can report that. So the relay raises two alerts itself:

* ``WatchdogSilent``: no Watchdog alert of the cluster came for too long. A cluster of the settings whose
  Watchdog alert never came is counted from when the relay knew the cluster.
* ``PrometheusSilent``: one of several Prometheus replicas does not send its Watchdog alert any more. The
  replicas must have different labels (``external_labels``), else Alertmanager takes their alerts for one.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from services.alert_relay.clusters.cluster import Heartbeat, StoredCluster
from services.alert_relay.incidents.episodes import Alert, AlertGroup
from services.kit.clock import rfc3339

WATCHDOG_SILENT = "WatchdogSilent"
PROMETHEUS_SILENT = "PrometheusSilent"
#: A Prometheus replica that is gone for so long was removed.
FORGET_SECONDS = 7 * 86_400.0
_HIDDEN_LABELS = frozenset({"alertname", "severity"})


@dataclass(frozen=True, slots=True)
class OwnAlert:
    """An alert that the relay raises itself."""

    cluster: str
    name: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Signal:
    """One Watchdog alert that should arrive; times are seconds since the epoch.

    Args:
        alert: what is raised while it is overdue.
        received_at: when it last came; None: never.
        expected_since: the relay could have received it since then.
        replica: name of the Prometheus replica; empty: any replica of the cluster.
    """

    alert: OwnAlert
    received_at: float | None
    expected_since: float
    replica: str = ""

    def silence(self, now: float) -> float:
        """Seconds for which it could have been received, and was not."""
        return now - max(self.received_at or 0.0, self.expected_since)


def fingerprint_of(name: str, replica: str = "") -> str:
    """Returns the fingerprint of an alert that the relay raises itself: 16 hexadecimal digits."""
    return hashlib.sha256(f"{name} {replica}".encode()).hexdigest()[:16]


def signals(cluster: StoredCluster, *, configured: bool, started_at: float) -> list[Signal]:
    """Returns the Watchdog alerts that a cluster should send.

    Args:
        cluster: as stored.
        configured: whether the settings name it; another one may have no Watchdog alert at all.
        started_at: when this process started, seconds since the epoch: it could not receive anything before.
    """
    if cluster.watchdog_at is None and not configured:
        return []
    own = OwnAlert(cluster.name, WATCHDOG_SILENT, fingerprint_of(WATCHDOG_SILENT))
    # A process that starts again does not give a Watchdog that never came a new term.
    since = cluster.created_at if cluster.watchdog_at is None else started_at
    found = [Signal(own, cluster.watchdog_at, since)]
    if len(cluster.heartbeats) > 1:
        found += [_of_replica(cluster, beat, started_at) for beat in cluster.heartbeats]
    return found


def _of_replica(cluster: StoredCluster, beat: Heartbeat, started_at: float) -> Signal:
    own = OwnAlert(cluster.name, PROMETHEUS_SILENT, fingerprint_of(PROMETHEUS_SILENT, beat.fingerprint))
    shown = {name: value for name, value in beat.labels.items() if name not in _HIDDEN_LABELS}
    common = set.intersection(*(set(each.labels.items()) for each in cluster.heartbeats))
    different = {name: value for name, value in shown.items() if (name, value) not in common}
    name = " ".join(f"{name}={value}" for name, value in sorted((different or shown).items()))
    return Signal(own, beat.received_at, started_at, name or beat.fingerprint)


def changes(
    clusters: Iterable[StoredCluster],
    firing: Collection[OwnAlert],
    *,
    configured: Collection[str],
    max_age: float,
    started_at: float,
    now: float,
) -> list[AlertGroup]:
    """Returns the alerts that fire now and did not, and those that have resolved.

    Args:
        clusters: as stored.
        firing: the alerts of the relay itself that fire.
        configured: names of the clusters of the settings.
        max_age: seconds after which a Watchdog alert is overdue.
        started_at: when this process started, seconds since the epoch.
        now: seconds since the epoch.
    """
    found, expected = [], set()
    for cluster in clusters:
        cluster_is_silent = False
        for signal in signals(cluster, configured=cluster.name in configured, started_at=started_at):
            expected.add(signal.alert)
            overdue = signal.silence(now) > max_age
            recent = signal.received_at is not None and now - signal.received_at <= max_age
            is_firing = signal.alert in firing
            # While the whole cluster is silent, nothing is known of one replica.
            if overdue and not is_firing and not cluster_is_silent:
                found.append(_raised(signal, now))
            if recent and is_firing:
                found.append(_resolved(signal.alert, now))
            cluster_is_silent |= overdue and not signal.replica
    return found + [_resolved(own, now) for own in firing if own not in expected]


def _raised(signal: Signal, now: float) -> AlertGroup:
    if signal.replica:
        summary = f"Prometheus {signal.replica} does not send its Watchdog alert any more"
        consequence = "Its alerts do not arrive; another Prometheus of this cluster still sends."
    else:
        summary = "The Watchdog alert is overdue: Prometheus or Alertmanager may be down"
        consequence = "No other alert can be trusted to arrive until it comes."
    came = signal.received_at
    if came is None:
        last = f"The Watchdog alert has never come since {rfc3339(signal.expected_since)}."
        consequence += " Does Prometheus have its rule? WATCHDOG_MAX_AGE_SECONDS=0 switches this off."
    else:
        last = f"The Watchdog alert came last at {rfc3339(came)}."
    annotations = {
        "summary": summary,
        "description": f"{last} {consequence}",
        "runbook_url": "docs/runbook.md#watchdog",
    }
    return _group(signal.alert, annotations, min(now, came or signal.expected_since), ends_at=None)


def _resolved(own: OwnAlert, now: float) -> AlertGroup:
    return _group(own, {}, now, ends_at=now)


def _group(
    own: OwnAlert, annotations: Mapping[str, str], starts_at: float, *, ends_at: float | None
) -> AlertGroup:
    # A resolution has the severity of its alert, so that it cannot overtake it.
    severity = "critical" if own.name == WATCHDOG_SILENT else "warning"
    labels = {
        "alertname": own.name,
        "severity": severity,
        "service": "alert-path",
        "alertmanager": own.cluster,
    }
    return AlertGroup(
        cluster=own.cluster,
        group_key=own.name,
        group_labels={"alertname": own.name},
        receiver="",
        status="",
        external_url="",  # Alertmanager does not know this alert, so it could not silence it.
        reason="",
        truncated=0,
        alerts=(Alert(own.fingerprint, ends_at is None, labels, annotations, starts_at, ends_at),),
    )
