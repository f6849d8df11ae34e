"""Does what the timers of incidents are set for, when their time has come, and ends maintenance windows.

Each timer is taken in the transaction that does its work: after a crash it is still there, and of several
replicas one does it. If the clock is put back, the timers are put back with it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection

from services.alert_relay.clusters import store as cluster_store
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
from services.alert_relay.notifications import composition, projection, sounds
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.relay import Relay
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.outbox.intake import enqueue
from services.outbox.messages import Submission

LOOK_SECONDS = 1.0


def perform(
    connection: Connection, found: DueTimer, target: NotificationTarget, now: float
) -> list[Submission]:
    """Does what a timer is set for; returns the messages that it enqueued.

    Args:
        connection: in a transaction.
        found: the timer.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    cluster_store.lock(connection, found.cluster)
    if not timers.take(connection, found):
        return []
    before = incident_store.load(connection, [found.incident_id])[found.incident_id]
    if found.kind is TimerKind.THROTTLED:
        return _remind(connection, before, target, now)
    event = _event(found.kind, before)
    if event is None:
        return []
    after = reduce(before, event, ALERT_RELAY, now)
    incident_store.save(connection, [after])
    if isinstance(event, Unacknowledge):
        timeline.add(connection, [TimelineRow(after.id, TimelineKind.UNATTENDED, ALERT_RELAY)], now)
    remind = not maintenance_store.suppressing(connection, [after.id], now)
    composed = projection.project(
        connection, [after.id], {after.id: before}, remind=remind, target=target, now=now
    )
    return notification_store.enqueue_all(connection, composed, target, now)


def _remind(
    connection: Connection, incident: Incident, target: NotificationTarget, now: float
) -> list[Submission]:
    """Reports how an incident is whose news were held back, unless it is over or a person handles it."""
    held_back = sounds.load(connection, [incident.id]).get(incident.id)
    if incident.state is not IncidentState.FIRING or held_back is None or not held_back.held_back:
        return []
    if maintenance_store.suppressing(connection, [incident.id], now):
        return []
    known = {incident.id: incident}
    composed = projection.project(connection, [incident.id], known, remind=True, target=target, now=now)
    return notification_store.enqueue_all(connection, composed, target, now)


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
    while True:
        with suppress_and_log("timers_failed"):
            await once(relay, clock)
        await asyncio.sleep(LOOK_SECONDS)


async def once(relay: Relay, clock: Clock) -> None:
    """Does everything that is due now, a transaction for each timer."""
    now = clock.time()
    database = relay.database
    found = await database.read("timers", partial(timers.due, now=now))
    if await database.read("timers", partial(timers.is_ahead, now=now)):
        await database.write("timers", partial(timers.follow_clock, now=now))
    for each in found:
        work = partial(perform, found=each, target=relay.target(), now=now)
        relay.record_enqueued(await database.write("timers", work, notify=enqueue.CHANNEL))
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
