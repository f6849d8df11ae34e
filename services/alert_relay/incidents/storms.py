"""Storms: many incidents that open at once have one message together.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update
from uuid_utils import uuid7

from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.incident import IncidentState
from services.alert_relay.schema import incident

#: Incidents of a storm that its message lists at most.
MOST_LISTED = 40


@dataclass(frozen=True, slots=True)
class StormIncident:
    """An incident as the message of its storm lists it."""

    name: str
    severity: str
    resolved: bool
    acknowledged: bool


@dataclass(frozen=True, slots=True)
class Storm:
    """Incidents that opened at once.

    Args:
        id: of the storm.
        cluster: name of the cluster.
        incidents: some of them: open ones first, then in the order of their opening.
        open: the number of open ones.
        resolved: the number of resolved ones.
    """

    id: str
    cluster: str
    incidents: tuple[StormIncident, ...]
    open: int
    resolved: int


def join(
    connection: Connection,
    cluster: str,
    policy: str,
    new: Sequence[str],
    *,
    most: int,
    seconds: float,
    now: float,
) -> str | None:
    """Puts new incidents into a storm, if too many have opened at once; returns the storm's id.

    Args:
        connection: in a transaction that has locked the cluster's row.
        cluster: of the incidents.
        policy: name of their escalation policy.
        new: ids of incidents that have just opened.
        most: incidents that may open within the time, each with a message of its own; 0: any number.
        seconds: the time.
        now: seconds since the epoch.
    """
    if not new or not most:
        return None
    recent = (incident.c.cluster == cluster) & (incident.c.opened_at > now - seconds)
    # Those of which people are not notified, since they are silenced, have no policy yet.
    same = recent & (incident.c.policy == policy)
    number = connection.execute(select(func.count()).where(same)).scalar_one() + len(new)
    newest = select(incident.c.storm_id).where(same, incident.c.storm_id.is_not(None))
    going_on: str | None = connection.execute(newest.order_by(incident.c.id.desc()).limit(1)).scalar()
    if number <= most and going_on is None:
        return None
    return put_together(connection, new, going_on)


def put_together(connection: Connection, incident_ids: Sequence[str], storm_id: str | None = None) -> str:
    """Puts incidents into a storm; returns its id. None: a new one."""
    storm_id = storm_id or str(uuid7())
    for chunk in chunks(incident_ids):
        connection.execute(update(incident).where(incident.c.id.in_(chunk)).values(storm_id=storm_id))
    return storm_id


def leave(connection: Connection, incident_id: str) -> None:
    """Gives an incident a message of its own."""
    connection.execute(update(incident).where(incident.c.id == incident_id).values(storm_id=None))


def load(connection: Connection, storm_id: str) -> Storm:
    """Returns a storm as it is now."""
    of_storm = incident.c.storm_id == storm_id
    counted = select(incident.c.state, func.count()).where(of_storm).group_by(incident.c.state)
    numbers = {row.state: row[1] for row in connection.execute(counted)}
    resolved = numbers.pop(IncidentState.RESOLVED.value, 0)
    columns = (incident.c.cluster, incident.c.alertname, incident.c.severity, incident.c.state)
    order = (incident.c.resolved_at.is_not(None), incident.c.id)
    rows = connection.execute(select(*columns).where(of_storm).order_by(*order).limit(MOST_LISTED)).all()
    listed = tuple(
        StormIncident(
            row.alertname,
            row.severity,
            row.state == IncidentState.RESOLVED.value,
            row.state == IncidentState.ACKNOWLEDGED.value,
        )
        for row in rows
    )
    return Storm(storm_id, rows[0].cluster if rows else "", listed, sum(numbers.values()), resolved)
