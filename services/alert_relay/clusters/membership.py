"""Joins an external URL to a cluster, with everything that is stored under it.

Webhooks of an unknown Alertmanager are stored under its external URL. When a setting or a person says which
cluster it belongs to, its episodes and incidents move there. Nobody is notified: nothing fired or resolved.
"""

import json
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, Row, delete, select, update

from services.alert_relay.clusters import store
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import timeline
from services.alert_relay.incidents.episodes import End, incident_key
from services.alert_relay.incidents.incident import ALERT_RELAY
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.schema import cluster, episode, heartbeat, incident, webhook
from services.kit.database.connect import upsert


def configure(connection: Connection, clusters: Iterable[ClusterConfiguration], now: float) -> None:
    """Creates the clusters of the settings, and joins their external URLs to them."""
    for each in clusters:
        store.create(connection, each.name, now)
        for url in each.external_urls:
            if joined_to(connection, url) != each.name:
                join(connection, url, each.name, now)


def joined_to(connection: Connection, url: str) -> str | None:
    """Returns the cluster that an external URL was joined to."""
    return connection.execute(select(cluster.c.joined_to).where(cluster.c.name == url)).scalar()


def join(connection: Connection, url: str, target: str, now: float) -> None:
    """Joins an external URL, and the cluster that has it as its name, to another cluster.

    Args:
        connection: in a transaction.
        url: the external URL, also one that was never received.
        target: name of an existing cluster.
        now: seconds since the epoch.
    """
    statement = upsert(connection, cluster).values(name=url, created_at=now, joined_to=target)
    joined = statement.on_conflict_do_update(index_elements=[cluster.c.name], set_={"joined_to": target})
    # Both rows are locked, the URL's first, as every webhook of this URL locks them.
    connection.execute(joined)
    store.lock(connection, target)
    connection.execute(update(cluster).where(cluster.c.joined_to == url).values(joined_to=target))
    _move_heartbeats(connection, url, target)
    _move_episodes(connection, url, target, now)
    touched = _move_incidents(connection, url, target, now)
    connection.execute(update(webhook).where(webhook.c.cluster == url).values(cluster=target))
    for name in store.receivers(connection, url):
        store.record_receiver(connection, target, name, now)
    incident_store.end(connection, touched, ALERT_RELAY, now)


def _move_heartbeats(connection: Connection, url: str, target: str) -> None:
    """Drops the heartbeats of the URL: the next Watchdog alert is stored under the cluster."""
    connection.execute(delete(heartbeat).where(heartbeat.c.cluster == url))
    watchdog_at = connection.execute(select(cluster.c.watchdog_at).where(cluster.c.name == url)).scalar()
    if watchdog_at is not None:
        older = (cluster.c.watchdog_at < watchdog_at) | cluster.c.watchdog_at.is_(None)
        connection.execute(
            update(cluster).where(cluster.c.name == target, older).values(watchdog_at=watchdog_at)
        )


def _move_episodes(connection: Connection, url: str, target: str, now: float) -> None:
    """Moves the episodes. Of two newest ones of an alert the open one stays so, else the later one."""
    newest = select(episode).where(episode.c.newest)
    theirs = {row.fingerprint: row for row in connection.execute(newest.where(episode.c.cluster == target))}
    older, same = [], []
    for row in connection.execute(newest.where(episode.c.cluster == url)):
        other = theirs.get(row.fingerprint)
        if other is not None:
            older.append(row if _order(row) <= _order(other) else other)
        if other is not None and row.closed_at is None and other.closed_at is None:
            same.append((older[-1], row if older[-1] is other else other))
    for row in older:
        connection.execute(update(episode).where(episode.c.id == row.id).values(newest=False))
    for ended, kept in same:
        _merge(connection, ended, kept, now)
    connection.execute(update(episode).where(episode.c.cluster == url).values(cluster=target))


def _order(row: Row[tuple[object, ...]]) -> tuple[bool, float]:
    return row.closed_at is None, row.heard_at


def _merge(
    connection: Connection, ended: Row[tuple[object, ...]], kept: Row[tuple[object, ...]], now: float
) -> None:
    """Ends one of two open episodes of the same alert; the other one has the earlier start."""
    starts_at = min(ended.starts_at, kept.starts_at)
    connection.execute(update(episode).where(episode.c.id == kept.id).values(starts_at=starts_at))
    over = {
        "ended_at": max(now, ended.starts_at),
        "closed_at": now,
        "ended_by": End.JOINED.value,
        "newest": False,
    }
    connection.execute(update(episode).where(episode.c.id == ended.id).values(over))


def _move_incidents(connection: Connection, url: str, target: str, now: float) -> Sequence[str]:
    """Moves the incidents; an open one of the same alerts takes up the open episodes of the other.

    Returns:
        The ids of the incidents that may have no open episode now.
    """
    opened = (incident.c.cluster == url) & incident.c.resolved_at.is_(None)
    touched = []
    for row in connection.execute(select(incident).where(opened)).all():
        key = incident_key(target, row.alertname, json.loads(row.group_labels))
        same = (incident.c.key == key) & incident.c.resolved_at.is_(None)
        other = connection.execute(select(incident.c.id).where(same)).scalar()
        touched.append(row.id)
        if other is None:
            connection.execute(update(incident).where(incident.c.id == row.id).values(key=key))
            continue
        still = (episode.c.incident_id == row.id) & episode.c.closed_at.is_(None)
        connection.execute(update(episode).where(still).values(incident_id=other))
        entries = [
            TimelineRow(row.id, TimelineKind.JOINED, ALERT_RELAY, detail={"incident_id": other}),
            TimelineRow(other, TimelineKind.JOINED, ALERT_RELAY, detail={"incident_id": row.id}),
        ]
        timeline.add(connection, entries, now)
        touched.append(other)
    connection.execute(update(incident).where(incident.c.cluster == url).values(cluster=target))
    return touched
