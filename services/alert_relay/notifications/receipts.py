"""What arrived of the last notification of an incident that has a sound."""

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from services.alert_relay.notifications.notification import Purpose
from services.alert_relay.schema import notification
from services.outbox.messages import UNFINISHED, MessageState
from services.outbox.schema import message


@dataclass(frozen=True, slots=True)
class Receipts:
    """The messages of a notification: those that arrived, and those that may still arrive."""

    arrived: int
    waiting: int


def of_last(connection: Connection, incident_id: str) -> Receipts:
    """Returns what arrived of the incident's last notification; edits of its message do not count."""
    loud = (notification.c.incident_id == incident_id) & (notification.c.purpose != Purpose.CHANGED.value)
    last = select(func.max(notification.c.at)).where(loud).scalar_subquery()
    query = (
        select(message.c.state, func.count())
        .join(notification, notification.c.id == message.c.event_id)
        .where(loud, notification.c.at == last)
        .group_by(message.c.state)
    )
    counts = {row[0]: row[1] for row in connection.execute(query)}
    waiting = sum(counts.get(state.value, 0) for state in UNFINISHED)
    return Receipts(counts.get(MessageState.DELIVERED.value, 0), waiting)


def incidents_of(connection: Connection, event_id: str) -> list[str]:
    """Returns the incidents that a notification is about."""
    query = select(notification.c.incident_id).where(notification.c.id == event_id)
    return list(connection.execute(query).scalars())
