"""The audience of incidents: which targets get notifications of an incident, and since when.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.schema import audience


@dataclass(frozen=True, slots=True)
class Member:
    """A target that gets the notifications of an incident.

    Args:
        target: of the notifications.
        level: of escalation that added it; 0: it is notified at once.
        first_event: id of the event of its first message; None: it has no message of its own yet.
        storm_id: of the storm whose message shows the incident to it; None: no storm's message does.
    """

    target: Target
    level: int = 0
    first_event: str | None = None
    storm_id: str | None = None


def load(connection: Connection, incident_ids: Sequence[str]) -> dict[str, tuple[Member, ...]]:
    """Returns the audience of incidents by id, without those that have none yet."""
    found: dict[str, list[Member]] = {}
    for chunk in chunks(incident_ids):
        query = select(audience).where(audience.c.incident_id.in_(chunk))
        for row in connection.execute(query.order_by(audience.c.level, audience.c.target)):
            member = Member(Target.parse(row.target), row.level, row.first_event, row.storm_id)
            found.setdefault(row.incident_id, []).append(member)
    return {incident_id: tuple(members) for incident_id, members in found.items()}


def add(connection: Connection, new: Mapping[str, Sequence[Member]], now: float) -> None:
    """Adds targets to the audience of incidents; they must not be in it yet."""
    rows = [
        {"incident_id": incident_id, "target": str(each.target), "level": each.level, "added_at": now}
        for incident_id, members in new.items()
        for each in members
    ]
    if rows:
        connection.execute(insert(audience), rows)


def record_first(
    connection: Connection, incident_id: str, targets: Collection[Target], event_id: str
) -> None:
    """Stores the event of the first message that targets get of an incident."""
    connection.execute(
        update(audience)
        .where(audience.c.incident_id == incident_id, audience.c.target.in_([str(each) for each in targets]))
        .values(first_event=event_id)
    )


def record_storm(
    connection: Connection, incident_ids: Sequence[str], targets: Collection[Target], storm_id: str
) -> None:
    """Stores that the message of a storm shows incidents to targets."""
    texts = [str(each) for each in targets]
    for chunk in chunks(incident_ids):
        of_chunk = (audience.c.incident_id.in_(chunk), audience.c.target.in_(texts))
        connection.execute(update(audience).where(*of_chunk).values(storm_id=storm_id))


def of_storm(connection: Connection, storm_id: str) -> frozenset[Target]:
    """Returns the targets that have the message of a storm."""
    query = select(audience.c.target).where(audience.c.storm_id == storm_id).distinct()
    return frozenset(Target.parse(text) for text in connection.execute(query).scalars())
