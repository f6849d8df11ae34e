"""Timers of incidents: what is to be done later is stored with the change that needs it.

The functions run inside a transaction that the caller opens.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, Connection, delete, select, update

from services.alert_relay.schema import incident, timer
from services.kit.database.connect import upsert

#: A clock that is put back by less than this changes nothing.
CLOCK_TOLERANCE_SECONDS = 5.0


class TimerKind(StrEnum):
    """What is to be done."""

    ESCALATE = "escalate"  #: no person has acknowledged an incident in the time of its level of escalation
    RECEIPT = "receipt"  #: a notification of an incident must have arrived
    STABLE = "stable"  #: an incident that was reopened again and again has not changed for a while
    THROTTLED = "throttled"  #: news of an incident were held back
    UNATTENDED = "unattended"  #: an incident was acknowledged long ago, and still fires


@dataclass(frozen=True, slots=True)
class DueTimer:
    """A timer whose time has come; ``due_at`` is in seconds since the epoch."""

    incident_id: str
    cluster: str
    kind: TimerKind
    due_at: float


def start(connection: Connection, incident_id: str, kind: TimerKind, seconds: float, now: float) -> None:
    """Sets a timer; one of the same kind is set anew."""
    times = {"set_at": now, "due_at": now + seconds}
    statement = upsert(connection, timer).values(incident_id=incident_id, kind=kind.value, **times)
    keys = [timer.c.incident_id, timer.c.kind]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=times))


def stop(connection: Connection, incident_id: str, kind: TimerKind) -> None:
    """Removes a timer, if it is set."""
    connection.execute(delete(timer).where(timer.c.incident_id == incident_id, timer.c.kind == kind.value))


def is_set(connection: Connection, incident_id: str, kind: TimerKind) -> bool:
    """Whether an incident has a timer of a kind."""
    same = (timer.c.incident_id == incident_id) & (timer.c.kind == kind.value)
    return connection.execute(select(timer.c.kind).where(same)).first() is not None


def _ahead(now: float) -> ColumnElement[bool]:
    return timer.c.set_at > now + CLOCK_TOLERANCE_SECONDS


def is_ahead(connection: Connection, now: float) -> bool:
    """Whether a timer was set in the future: the clock was put back."""
    return connection.execute(select(timer.c.kind).where(_ahead(now)).limit(1)).first() is not None


def follow_clock(connection: Connection, now: float) -> None:
    """Sets timers anew that were set in the future: they would wait too long."""
    connection.execute(
        update(timer).where(_ahead(now)).values(due_at=now + (timer.c.due_at - timer.c.set_at), set_at=now)
    )


def due(connection: Connection, now: float, limit: int = 100) -> list[DueTimer]:
    """Returns timers whose time has come, the oldest first."""
    query = (
        select(timer, incident.c.cluster)
        .join(incident, incident.c.id == timer.c.incident_id)
        .where(timer.c.due_at <= now)
        .order_by(timer.c.due_at)
        .limit(limit)
    )
    kinds = set(TimerKind)
    return [
        DueTimer(row.incident_id, row.cluster, TimerKind(row.kind), row.due_at)
        for row in connection.execute(query)
        if row.kind in kinds
    ]


def take(connection: Connection, found: DueTimer) -> bool:
    """Removes a due timer; false if it was set anew, or another replica has taken it."""
    same = (timer.c.incident_id == found.incident_id) & (timer.c.kind == found.kind.value)
    return connection.execute(delete(timer).where(same, timer.c.due_at == found.due_at)).rowcount == 1
