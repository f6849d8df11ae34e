"""The end of a maintenance window: what still fires is news at once, and a summary is sent.

The functions run inside a transaction that the caller opens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, select, update

from services.alert_relay.clusters import store as cluster_store
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import storms
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.incident import IncidentState
from services.alert_relay.maintenance import store, window, words
from services.alert_relay.maintenance.window import MaintenanceWindow
from services.alert_relay.maintenance.words import FiringIncident
from services.alert_relay.notifications import announcement, audience, composition, projection
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.notification import NotifiedAlert
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.schema import episode, incident
from services.outbox.messages import Submission


@dataclass(frozen=True, slots=True)
class WindowEnd:
    """What the end of an occurrence did.

    Args:
        window: as it is now: at its next occurrence, or ended.
        submissions: the messages that it enqueued.
    """

    window: MaintenanceWindow
    submissions: tuple[Submission, ...] = ()


def end(
    connection: Connection,
    over: MaintenanceWindow,
    target: NotificationTarget,
    now: float,
    *,
    for_good: bool = False,
) -> WindowEnd | None:
    """Ends an occurrence of a window; None: it is over already, or does not go on now.

    Args:
        connection: in a transaction.
        over: the window.
        target: who gets the notifications.
        now: seconds since the epoch.
        for_good: whether a recurring window ends too.
    """
    if over.ended_at is not None or (over.rule and over.starts_at > now and not for_good):
        return None
    after = replace(over, ended_at=now) if for_good else window.after_end(over, now)
    if not store.move_on(connection, over, after):
        return None
    if over.starts_at > now:
        return WindowEnd(after)
    for cluster in _clusters(connection, over):
        cluster_store.lock(connection, cluster)
    matched = _matched(connection, over)
    submissions = _news(connection, matched, target, now)
    firing = _firing(matched)
    incidents = len({row.incident_id for row in matched})
    if incidents or not over.rule:
        text = words.summary(over, after, incidents, firing)
        title = f"maintenance {over.name} is over"
        submissions.append(
            announcement.announce(
                connection, title, text, target.chat_ids, trace=target.trace, silent=True, now=now
            )
        )
    return WindowEnd(after, tuple(submissions))


def _clusters(connection: Connection, over: MaintenanceWindow) -> list[str]:
    """Returns the clusters that the window is about, in the order in which they are locked."""
    if over.cluster:
        return [over.cluster]
    open_ = select(incident.c.cluster).where(incident.c.resolved_at.is_(None)).distinct()
    return sorted(connection.execute(open_).scalars())


def _matched(connection: Connection, over: MaintenanceWindow) -> list[Row[Any]]:
    """Returns the episodes of the window's time that it matches, with names and states of their incidents."""
    during = episode.c.closed_at.is_(None) | (episode.c.closed_at >= over.starts_at)
    query = (
        select(episode, incident.c.alertname, incident.c.state, incident.c.severity.label("worst"))
        .join(incident, incident.c.id == episode.c.incident_id)
        .where(during)
        .order_by(episode.c.id)
    )
    if over.cluster:
        query = query.where(episode.c.cluster == over.cluster)
    rows = connection.execute(query)
    return [row for row in rows if over.matches(row.cluster, store.labels_of(row.labels))]


def _firing(matched: Sequence[Row[Any]]) -> list[FiringIncident]:
    found: dict[str, FiringIncident] = {}
    for row in matched:
        if row.closed_at is None:
            known = found.get(row.incident_id)
            alerts = 1 + (known.alerts if known else 0)
            found[row.incident_id] = FiringIncident(
                row.incident_id, row.alertname, row.worst, row.cluster, alerts
            )
    return list(found.values())


def _news(
    connection: Connection, matched: Sequence[Row[Any]], target: NotificationTarget, now: float
) -> list[Submission]:
    """Notifies people of what still fires, and is held back by nothing else."""
    others = store.open_windows(connection)
    news: dict[str, list[NotifiedAlert]] = {}
    notified = []
    for row in matched:
        if row.closed_at is not None or row.suppressed or not row.newest:
            continue
        # People who handle the incident know of it.
        if row.notified_at is not None and row.state == IncidentState.ACKNOWLEDGED.value:
            continue
        if window.covering(others, row.cluster, store.labels_of(row.labels), now) is None:
            news.setdefault(row.incident_id, []).append(notification_store.alert_of(row))
            notified.append(row.id)
    for chunk in chunks(notified):
        connection.execute(update(episode).where(episode.c.id.in_(chunk)).values(notified_at=now))
    before = incident_store.load(connection, list(news))
    views = notification_store.views(connection, before)
    notified_before = audience.load(connection, list(before))
    unknown = [each for each in views.values() if each.incident.id not in notified_before]
    _put_together(connection, [each for each in unknown if not composition.is_single(each.incident)], target)
    known = {key: each for key, each in before.items() if key not in {one.incident.id for one in unknown}}
    composed = projection.project(connection, list(news), known, news, target=target, now=now)
    return notification_store.enqueue_all(connection, composed, target, now)


def _put_together(
    connection: Connection, unknown: Sequence[composition.IncidentView], target: NotificationTarget
) -> None:
    """Gives the incidents of each cluster one message together, if there are many."""
    by_cluster: dict[str, list[str]] = {}
    for each in unknown:
        by_cluster.setdefault(each.cluster, []).append(each.incident.id)
    for ids in by_cluster.values():
        if target.storm_incidents and len(ids) > target.storm_incidents:
            storms.put_together(connection, ids)
