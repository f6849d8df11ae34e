"""The SQL of truncated webhooks: which groups to fetch from Alertmanager, and how to apply its answer.

The functions run inside a transaction that the caller opens.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select, update

from services.alert_relay import episode_store, episodes, notifications, store
from services.alert_relay.episodes import OPENING, Alert, AlertGroup, EpisodeChange, Observation
from services.alert_relay.schema import alertmanager, webhook
from services.alert_relay.store import NotificationTarget, StoreResult

#: The database channel that wakes the worker after a truncated webhook.
CHANNEL = "left_out"
#: An Alertmanager that has not posted for this long is gone, or has a new address.
ACTIVE_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class TruncatedGroup:
    """The newest truncated webhook of a group."""

    cluster: str
    group_key: str
    body: str
    truncated: int  #: number of alerts that it left out
    last_received_at: float  #: seconds since the epoch
    clusters: int  #: number of clusters that have posted within ``ACTIVE_SECONDS``


@dataclass(frozen=True, slots=True)
class FetchedAlerts:
    """Alertmanager's alerts of a group, beyond those that the webhook listed.

    Args:
        alerts: firing alerts that the webhook left out.
        present: fingerprints of all alerts that Alertmanager has, including silenced ones.
        absence_counts: whether an alert that is not present has resolved.
    """

    alerts: tuple[Alert, ...]
    present: frozenset[str]
    absence_counts: bool


@dataclass(frozen=True, slots=True)
class Completion:
    """What a completed webhook stored; ``opened`` is the number of alerts that were new."""

    result: StoreResult
    opened: int


def truncated_groups(connection: Connection, now: float) -> list[TruncatedGroup]:
    """Returns the groups to fetch, the longest waiting first."""
    active = alertmanager.c.heard_at > now - ACTIVE_SECONDS
    clusters = connection.execute(select(func.count()).select_from(alertmanager).where(active)).scalar_one()
    query = (
        select(webhook)
        .where(webhook.c.truncated > 0, webhook.c.asked_at.is_(None))
        .order_by(webhook.c.last_received_at)
    )
    newest = {(row.cluster, row.group_key): row for row in connection.execute(query)}
    return [
        TruncatedGroup(row.cluster, row.group_key, row.body, row.truncated, row.last_received_at, clusters)
        for row in newest.values()
    ]


def complete(
    connection: Connection,
    group: AlertGroup,
    fetched: FetchedAlerts,
    *,
    asked_at: float,
    target: NotificationTarget,
    now: float,
) -> Completion | None:
    """Applies the alerts that a webhook left out, as if it had listed them; only transitions notify.

    Args:
        connection: in a transaction.
        group: the truncated webhook.
        fetched: Alertmanager's answer.
        asked_at: when Alertmanager was called, seconds since the epoch.
        target: who gets the notifications.
        now: seconds since the epoch.

    Returns:
        None if a newer webhook of the group was received meanwhile: the answer may be older than it.
    """
    store.lock_cluster(connection, group.cluster)
    if _received_since(connection, group, asked_at):
        return None
    alerts = [alert for alert in fetched.alerts if alert.name != store.WATCHDOG]
    fingerprints = [alert.fingerprint for alert in alerts]
    known = episode_store.newest_episodes(connection, group.cluster, fingerprints)
    observations = [episodes.observe(alert, known.get(alert.fingerprint)) for alert in alerts]
    opened = sum(each.change in OPENING for each in observations)
    if fetched.absence_counts:
        observations += _resolved(connection, group, fetched, now)
        mark_done(connection, (group.cluster, group.group_key), now)
    notify = [each for each in observations if each.change in notifications.TRANSITIONS]
    whole = replace(group, truncated=0, alerts=tuple(each.alert for each in observations))
    result = store.apply(connection, whole, observations, notify, target=target, now=now, fetched=True)
    return Completion(result, opened)


def _received_since(connection: Connection, group: AlertGroup, asked_at: float) -> bool:
    same = (webhook.c.cluster == group.cluster, webhook.c.group_key == group.group_key)
    latest = connection.execute(select(func.max(webhook.c.last_received_at)).where(*same)).scalar()
    return latest is not None and latest > asked_at


def _resolved(
    connection: Connection, group: AlertGroup, fetched: FetchedAlerts, now: float
) -> list[Observation]:
    """Returns the group's open episodes that Alertmanager no longer has; their exact end is unknown."""
    present = fetched.present | {alert.fingerprint for alert in group.alerts}
    return [
        Observation(
            replace(alert, firing=False, ends_at=max(now, alert.starts_at)), EpisodeChange.RESOLVED, episode
        )
        for episode, alert in episode_store.open_episodes(connection, group.cluster, group.group_labels)
        if alert.fingerprint not in present
    ]


def mark_done(connection: Connection, group: tuple[str, str], now: float) -> None:
    """Marks a group's truncated webhooks as completed or given up.

    Args:
        connection: in a transaction.
        group: cluster and group key.
        now: seconds since the epoch.
    """
    cluster, group_key = group
    same = (webhook.c.cluster == cluster, webhook.c.group_key == group_key, webhook.c.asked_at.is_(None))
    connection.execute(update(webhook).where(*same, webhook.c.truncated > 0).values(asked_at=now))
