"""Does what the timers of incidents are set for, when their time has come, and ends maintenance windows.

Each timer is taken in the transaction that does its work: after a crash it is still there, and of several
replicas one does it. If the clock is put back, the timers are put back with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection

from services.alert_relay.clusters import store as cluster_store
from services.alert_relay.escalation import auditor, levels
from services.alert_relay.escalation.levels import Escalation
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import timeline, timers
from services.alert_relay.incidents.incident import (
    ALERT_RELAY,
    BecameStable,
    Event,
    Incident,
    IncidentState,
    Unacknowledge,
    reduce,
)
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.incidents.timers import DueTimer, TimerKind
from services.alert_relay.maintenance import store as maintenance_store
from services.alert_relay.metrics import EscalationCause
from services.alert_relay.notifications import composition, projection, sounds
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.projection import Reminder
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.relay import Relay
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.errors import Problem
from services.outbox.intake import enqueue
from services.outbox.messages import Submission

log = structlog.get_logger()

LOOK_SECONDS = 1.0
AUDIT_SECONDS = 60.0
#: A level of escalation that is due in a maintenance window is looked at again after so many seconds.
LATER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Performed:
    """What a timer did.

    Args:
        submissions: the messages that it enqueued.
        escalation: of the incident; None: the timer escalated nothing.
    """

    submissions: tuple[Submission, ...] = ()
    escalation: Escalation | None = None


def perform(connection: Connection, found: DueTimer, target: NotificationTarget, now: float) -> Performed:
    """Does what a timer is set for.

    Args:
        connection: in a transaction.
        found: the timer.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    cluster_store.lock(connection, found.cluster)
    if not timers.take(connection, found):
        return Performed()
    before = incident_store.load(connection, [found.incident_id])[found.incident_id]
    if found.kind in (TimerKind.ESCALATE, TimerKind.RECEIPT):
        return _escalate(connection, found.kind, before, target, now)
    act = _remind if found.kind is TimerKind.THROTTLED else partial(_change, kind=found.kind)
    return Performed(act(connection, before=before, target=target, now=now))


def _escalate(
    connection: Connection, kind: TimerKind, before: Incident, target: NotificationTarget, now: float
) -> Performed:
    if before.state is not IncidentState.FIRING:
        return Performed()
    if kind is TimerKind.ESCALATE and _in_window(connection, before, now):
        # It goes on when the maintenance window is over.
        timers.start(connection, before.id, TimerKind.ESCALATE, LATER_SECONDS, now)
        return Performed()
    if kind is TimerKind.RECEIPT and not levels.missing_receipt(connection, before):
        return Performed()
    cause = EscalationCause.UNACKNOWLEDGED if kind is TimerKind.ESCALATE else EscalationCause.UNDELIVERED
    done = levels.escalate(connection, before, cause, actor=ALERT_RELAY, target=target, now=now)
    return Performed() if done is None else Performed(done.submissions, done)


def _change(
    connection: Connection, *, kind: TimerKind, before: Incident, target: NotificationTarget, now: float
) -> tuple[Submission, ...]:
    """Changes the incident, and notifies people of how it is now."""
    event = _event(kind, before)
    if event is None:
        return ()
    after = reduce(before, event, ALERT_RELAY, now)
    incident_store.save(connection, [after])
    if isinstance(event, Unacknowledge):
        timeline.add(connection, [TimelineRow(after.id, TimelineKind.UNATTENDED, ALERT_RELAY)], now)
    remind = None if _in_window(connection, after, now) else Reminder()
    composed = projection.project(
        connection, [after.id], {after.id: before}, remind=remind, target=target, now=now
    )
    return tuple(notification_store.enqueue_all(connection, composed, target, now))


def _remind(
    connection: Connection, *, before: Incident, target: NotificationTarget, now: float
) -> tuple[Submission, ...]:
    """Reports how an incident is whose news were held back, unless it is over or a person handles it."""
    held_back = sounds.load(connection, [before.id]).get(before.id)
    if before.state is not IncidentState.FIRING or held_back is None or not held_back.held_back:
        return ()
    if _in_window(connection, before, now):
        return ()
    composed = projection.project(
        connection, [before.id], {before.id: before}, remind=Reminder(), target=target, now=now
    )
    return tuple(notification_store.enqueue_all(connection, composed, target, now))


def _in_window(connection: Connection, incident: Incident, now: float) -> bool:
    """Whether a maintenance window keeps people from being notified of the incident."""
    return bool(maintenance_store.suppressing(connection, [incident.id], now))


def _event(kind: TimerKind, incident: Incident) -> Event | None:
    """Returns what the timer means for the incident; None: nothing any more."""
    if kind is TimerKind.STABLE:
        return BecameStable() if composition.is_flapping(incident) else None
    return Unacknowledge() if incident.state is IncidentState.ACKNOWLEDGED else None


@asynccontextmanager
async def run_timers(relay: Relay, clock: Clock) -> AsyncIterator[None]:
    """Does what is due while the block runs."""
    async with run_in_background(_run(relay, clock)):
        yield


async def _run(relay: Relay, clock: Clock) -> None:
    audit_at = 0.0
    while True:
        with suppress_and_log("timers_failed"):
            await once(relay, clock)
            if clock.monotonic() >= audit_at:
                audit_at = clock.monotonic() + AUDIT_SECONDS
                await audit(relay, clock.time())
        await asyncio.sleep(LOOK_SECONDS)


async def audit(relay: Relay, now: float) -> None:
    """Measures the escalations that stand still, and starts again what has no timer."""
    try:
        database, router = relay.database, relay.router
    except Problem:
        # No chat is known yet, which the health shows.
        return
    found = await database.read("timers", partial(auditor.find, router=router, now=now))
    relay.metrics.escalations_stuck.set(found.number)
    if found.without_timer:
        work = partial(auditor.start_again, incident_ids=found.without_timer, router=router, now=now)
        log.warning("escalations_started_again", incidents=await database.write("timers", work))


async def once(relay: Relay, clock: Clock) -> None:
    """Does everything that is due now, a transaction for each timer."""
    now = clock.time()
    database = relay.database
    found = await database.read("timers", partial(timers.due, now=now))
    if await database.read("timers", partial(timers.is_ahead, now=now)):
        await database.write("timers", partial(timers.follow_clock, now=now))
    for each in found:
        work = partial(perform, found=each, target=relay.target(), now=now)
        done = await database.write("timers", work, notify=enqueue.CHANNEL)
        relay.record_enqueued(done.submissions)
        if done.escalation is not None:
            relay.record_escalation(done.escalation)
    await end_windows(relay, now)
    await relay.send_digest()


async def end_windows(relay: Relay, now: float) -> None:
    """Ends the maintenance windows whose time is over, a transaction for each, and counts the active ones."""
    database = relay.database
    if await database.read("timers", partial(maintenance_store.is_ahead, now=now)):
        await database.write("timers", partial(maintenance_store.follow_clock, now=now))
    for over in await database.read("timers", partial(maintenance_store.due, now=now)):
        await relay.end_window(over)
    active = [
        each for each in await database.read("timers", maintenance_store.open_windows) if each.is_active(now)
    ]
    relay.metrics.windows.set(len(active))
