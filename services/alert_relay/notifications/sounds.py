"""The SQL of throttles: when people last got a notification with a sound of each incident.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, select, update

from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.throttles import LastSound
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.schema import last_sound
from services.kit.database.connect import upsert

_LOUD = (Purpose.OPENED, Purpose.NEWS)


def load(connection: Connection, incident_ids: Sequence[str]) -> dict[str, LastSound]:
    """Returns the last notification with a sound of incidents, by the incident's id."""
    found = {}
    for chunk in chunks(incident_ids):
        for row in connection.execute(select(last_sound).where(last_sound.c.incident_id.in_(chunk))):
            found[row.incident_id] = LastSound(row.at, row.severity, row.resolved, row.held_back)
    return found


def hold_back(connection: Connection, incident_id: str) -> None:
    """Counts a notification that is held back."""
    connection.execute(
        update(last_sound)
        .where(last_sound.c.incident_id == incident_id)
        .values(held_back=last_sound.c.held_back + 1)
    )


def record(connection: Connection, composed: Sequence[Notification], now: float) -> None:
    """Records the notifications that make a sound."""
    for each in composed:
        if each.purpose not in _LOUD or each.incident is None:
            continue
        values = {
            "at": now,
            "severity": each.incident.severity,
            "resolved": each.incident.resolved_at is not None,
            "held_back": 0,
        }
        statement = upsert(connection, last_sound).values(incident_id=each.incident.id, **values)
        connection.execute(
            statement.on_conflict_do_update(index_elements=[last_sound.c.incident_id], set_=values)
        )
