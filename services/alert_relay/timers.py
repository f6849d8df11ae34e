"""Does what the timers of incidents are set for, when their time has come.

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
from services.alert_relay.escalation.levels import Cause, Escalation
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
from services.alert_relay.notifications import composition, projection
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
    escalates = before.state is IncidentState.FIRING
    match found.kind:
        case TimerKind.ESCALATE | TimerKind.RECEIPT if not escalates:
            return Performed()
        case TimerKind.ESCALATE:
            cause = Cause.UNACKNOWLEDGED
        case TimerKind.RECEIPT if levels.missing_receipt(connection, before):
            cause = Cause.UNDELIVERED
        case TimerKind.RECEIPT:
            return Performed()
        case _:
            return Performed(_change(connection, found.kind, before, target, now))
    done = levels.escalate(connection, before, cause, actor=ALERT_RELAY, target=target, now=now)
    return Performed() if done is None else Performed(done.submissions, done)


def _change(
    connection: Connection, kind: TimerKind, before: Incident, target: NotificationTarget, now: float
) -> tuple[Submission, ...]:
    """Changes the incident, and notifies people of how it is now."""
    event = _event(kind, before)
    if event is None:
        return ()
    after = reduce(before, event, ALERT_RELAY, now)
    incident_store.save(connection, [after])
    if isinstance(event, Unacknowledge):
        timeline.add(connection, [TimelineRow(after.id, TimelineKind.UNATTENDED, ALERT_RELAY)], now)
    composed = projection.project(
        connection, [after.id], {after.id: before}, remind=Reminder(), target=target, now=now
    )
    return tuple(notification_store.enqueue_all(connection, composed, target, now))


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
