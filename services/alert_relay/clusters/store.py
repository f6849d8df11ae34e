"""The rows of clusters. The functions run inside a transaction that the caller opens."""

import json
from collections.abc import Sequence

from sqlalchemy import Connection, delete, select, update

from services.alert_relay.clusters.cluster import Heartbeat, StoredCluster
from services.alert_relay.incidents.episodes import Alert
from services.alert_relay.schema import cluster, heartbeat, receiver
from services.contracts.stored import json_of
from services.kit.database.connect import upsert


def create(connection: Connection, name: str, now: float) -> None:
    """Creates a cluster; what was joined to another one becomes a cluster of its own."""
    statement = upsert(connection, cluster).values(name=name, created_at=now)
    own = statement.on_conflict_do_update(index_elements=[cluster.c.name], set_={"joined_to": None})
    connection.execute(own)


def touch(connection: Connection, name: str, now: float) -> str:
    """Records that a webhook was received, and locks the cluster's row.

    Args:
        connection: in a transaction.
        name: a cluster's name, or an external URL; a new one becomes a cluster of its own.
        now: seconds since the epoch.

    Returns:
        The name of the cluster.
    """
    statement = upsert(connection, cluster).values(name=name, created_at=now, received_at=now)
    touched = statement.on_conflict_do_update(index_elements=[cluster.c.name], set_={"received_at": now})
    joined_to: str | None = connection.execute(touched.returning(cluster.c.joined_to)).scalar_one()
    if joined_to is None:
        return name
    connection.execute(update(cluster).where(cluster.c.name == joined_to).values(received_at=now))
    return joined_to


def lock(connection: Connection, name: str) -> None:
    """Locks the cluster's row until the transaction ends; its values stay."""
    connection.execute(
        update(cluster).where(cluster.c.name == name).values(received_at=cluster.c.received_at)
    )


def record_heartbeats(connection: Connection, name: str, alerts: Sequence[Alert], now: float) -> None:
    """Records that these firing Watchdog alerts were received."""
    if not alerts:
        return
    connection.execute(update(cluster).where(cluster.c.name == name).values(watchdog_at=now))
    for alert in alerts:
        row = {"cluster": name, "fingerprint": alert.fingerprint, "received_at": now}
        labels = json.dumps(dict(alert.labels))
        statement = upsert(connection, heartbeat).values(row | {"labels": labels})
        keys = [heartbeat.c.cluster, heartbeat.c.fingerprint]
        connection.execute(
            statement.on_conflict_do_update(index_elements=keys, set_={"received_at": now, "labels": labels})
        )


def record_receiver(connection: Connection, name: str, receiver_name: str, now: float) -> None:
    """Records that a receiver of Alertmanager's configuration posts to this relay."""
    statement = upsert(connection, receiver).values(cluster=name, name=receiver_name, received_at=now)
    keys = [receiver.c.cluster, receiver.c.name]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_={"received_at": now}))


def receivers(connection: Connection, name: str) -> frozenset[str]:
    """Returns the names of the receivers that post to this relay."""
    return frozenset(connection.execute(select(receiver.c.name).where(receiver.c.cluster == name)).scalars())


def proven_urls(connection: Connection, name: str) -> tuple[str, ...]:
    """Returns the API URLs that have listed alerts of the cluster."""
    text = connection.execute(select(cluster.c.proven_urls).where(cluster.c.name == name)).scalar()
    found = json_of(text) if text else None
    return tuple(map(str, found)) if isinstance(found, list) else ()


def prove_urls(connection: Connection, name: str, urls: Sequence[str]) -> None:
    """Records the API URLs that have listed alerts of the cluster."""
    connection.execute(update(cluster).where(cluster.c.name == name).values(proven_urls=json.dumps(urls)))


def forget_heartbeats(connection: Connection, before: float) -> None:
    """Deletes heartbeats that were last received before that time."""
    connection.execute(delete(heartbeat).where(heartbeat.c.received_at < before))


def heartbeats(connection: Connection, name: str) -> list[Heartbeat]:
    """Returns the Watchdog alerts of a cluster."""
    query = select(heartbeat).where(heartbeat.c.cluster == name).order_by(heartbeat.c.fingerprint)
    return [
        Heartbeat(row.fingerprint, _labels(row.labels), row.received_at) for row in connection.execute(query)
    ]


def stored(connection: Connection) -> list[StoredCluster]:
    """Returns all clusters by name, without the URLs that were joined to one."""
    rows = connection.execute(select(cluster).order_by(cluster.c.name)).all()
    return [
        StoredCluster(
            row.name,
            row.created_at,
            row.received_at,
            row.watchdog_at,
            tuple(other.name for other in rows if other.joined_to == row.name),
            tuple(heartbeats(connection, row.name)),
        )
        for row in rows
        if row.joined_to is None
    ]


def _labels(text: str) -> dict[str, str]:
    """JSON of a column; empty where it is no object, so that an odd row fails no list."""
    found = json_of(text)
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
