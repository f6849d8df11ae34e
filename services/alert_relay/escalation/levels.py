"""Reaches the next level of an incident's escalation, or falls back to other targets.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from services.alert_relay.channels.target import Channel, Target
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import timeline, timers
from services.alert_relay.incidents.incident import Actor, Escalated, Incident, reduce
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.metrics import EscalationCause
from services.alert_relay.notifications import audience, projection, receipts
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.projection import Reminder
from services.alert_relay.notifications.store import NotificationTarget
from services.outbox.messages import Submission


@dataclass(frozen=True, slots=True)
class Escalation:
    """What a transaction did.

    Args:
        after: the incident.
        level: that was reached, from 1; None: only the targets of the fallback were notified, if any.
        cause: why.
        fallback: the channels of targets that get it since no notification arrived.
        submissions: the messages that it enqueued.
    """

    after: Incident
    level: int | None
    cause: EscalationCause
    fallback: tuple[Channel, ...] = ()
    submissions: tuple[Submission, ...] = ()


def escalate(
    connection: Connection,
    before: Incident,
    cause: EscalationCause,
    *,
    actor: Actor,
    target: NotificationTarget,
    now: float,
) -> Escalation | None:
    """Reaches the next level, and notifies its targets; behind the last one, those of the fallback.

    What does not arrive begins no new round: where all channels refuse, all rounds would pass at once.

    Args:
        connection: in a transaction.
        before: the incident.
        cause: why.
        actor: who or what does it.
        target: who gets the notifications.
        now: seconds since the epoch.

    Returns:
        What was done; None: nothing, since the incident has no further level.
    """
    notify = partial(_notify, connection, before, actor=actor, target=target, now=now)
    step = target.route.next_step(before)
    if step is not None and (cause is not EscalationCause.UNDELIVERED or step.round == before.round):
        targets = target.route.targets(before.policy or "", step.level, now)
        after = reduce(before, Escalated(step.level, step.round), actor, now)
        detail = {
            "level": step.level + 1,
            "round": step.round + 1,
            "cause": cause.value,
            "version": before.version,
        }
        return Escalation(after, step.level + 1, cause, submissions=notify(after, targets, detail))
    if cause is not EscalationCause.UNDELIVERED:
        return None
    known = {each.target for each in audience.load(connection, [before.id]).get(before.id, ())}
    others = [each for each in target.route.fallback(before.policy or "") if each not in known]
    submissions = notify(before, others, {"cause": cause.value}) if others else ()
    return Escalation(before, None, cause, tuple(each.channel for each in others), submissions)


def _notify(
    connection: Connection,
    before: Incident,
    after: Incident,
    targets: Collection[Target],
    detail: Mapping[str, object],
    *,
    actor: Actor,
    target: NotificationTarget,
    now: float,
) -> tuple[Submission, ...]:
    incident_store.save(connection, [after])
    shown = {**detail, "targets": [str(each) for each in targets]}
    timeline.add(connection, [TimelineRow(after.id, TimelineKind.ESCALATED, actor, detail=shown)], now)
    remind = Reminder(frozenset(targets), max(1, after.level))
    composed = projection.project(
        connection, [after.id], {after.id: before}, remind=remind, target=target, now=now
    )
    return tuple(notification_store.enqueue_all(connection, composed, target, now))


def missing_receipt(connection: Connection, incident: Incident) -> bool:
    """Whether nothing of the incident's last notification has arrived."""
    return receipts.of_last(connection, incident.id).arrived == 0


def note_failure(connection: Connection, event_ids: Collection[str], now: float) -> None:
    """Makes the missing receipts of incidents due at once, of whose last notification nothing can arrive."""
    for event_id in event_ids:
        for incident_id in receipts.incidents_of(connection, event_id):
            found = receipts.of_last(connection, incident_id)
            if not found.arrived and not found.waiting:
                timers.start(connection, incident_id, TimerKind.RECEIPT, 0.0, now)
