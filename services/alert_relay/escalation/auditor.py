"""The auditor: finds incidents whose escalation stands still, and starts it again.

An incident that fires, has a policy, and has a further level must have a timer, which is due soon after its
time. It may have none after a fault, or because the policy got a further level after the last was reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, select

from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import timers
from services.alert_relay.incidents.incident import IncidentState
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.notifications.router import Router
from services.alert_relay.schema import incident, timer

#: A timer that is overdue by more than this stands still.
OVERDUE_SECONDS = 60.0
#: Incidents that one reading looks at.
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Stuck:
    """Incidents whose escalation stands still.

    Args:
        without_timer: ids of those that have no timer though they have a further level.
        overdue: the number of timers whose time has passed.
    """

    without_timer: tuple[str, ...]
    overdue: int

    @property
    def number(self) -> int:
        return len(self.without_timer) + self.overdue


def find(connection: Connection, router: Router, now: float) -> Stuck:
    """Returns the incidents whose escalation stands still."""
    escalates = and_(timer.c.incident_id == incident.c.id, timer.c.kind == TimerKind.ESCALATE.value)
    fires = (incident.c.state == IncidentState.FIRING.value) & incident.c.policy.is_not(None)
    query = select(incident.c.id, timer.c.due_at).join_from(incident, timer, escalates, isouter=True)
    rows = connection.execute(query.where(fires).order_by(incident.c.id).limit(BATCH)).all()
    without = incident_store.load(connection, [row.id for row in rows if row.due_at is None])
    return Stuck(
        tuple(each.id for each in without.values() if router.next_step(each) is not None),
        sum(row.due_at is not None and row.due_at < now - OVERDUE_SECONDS for row in rows),
    )


def start_again(connection: Connection, incident_ids: Sequence[str], router: Router, now: float) -> int:
    """Sets the timers that are missing; returns their number."""
    started = 0
    for each in incident_store.load(connection, incident_ids).values():
        step = router.next_step(each) if each.state is IncidentState.FIRING else None
        if step is not None and not timers.is_set(connection, each.id, TimerKind.ESCALATE):
            timers.start(connection, each.id, TimerKind.ESCALATE, max(0.0, step.due_at - now), now)
            started += 1
    return started
