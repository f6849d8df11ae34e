"""Carries out a person's command on an incident, in one transaction."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from services.alert_relay.clusters import store as cluster_store
from services.alert_relay.escalation import levels
from services.alert_relay.escalation.levels import Escalation
from services.alert_relay.incidents import episode_store, timeline, timers
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents.incident import (
    Acknowledge,
    Actor,
    AddNote,
    Command,
    Escalate,
    Incident,
    IncidentState,
    Refusal,
    Resolve,
    Unacknowledge,
    command,
)
from services.alert_relay.incidents.store import ResolvedIncident
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.metrics import EscalationCause
from services.alert_relay.notifications import projection
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.schema import incident
from services.outbox.messages import Submission

_KINDS: dict[type[Command], TimelineKind] = {
    Acknowledge: TimelineKind.ACKNOWLEDGED,
    Unacknowledge: TimelineKind.UNACKNOWLEDGED,
    Resolve: TimelineKind.CLOSED,
    AddNote: TimelineKind.NOTE,
}


@dataclass(frozen=True, slots=True)
class Performed:
    """What a command did.

    Args:
        before: the incident before it.
        after: the incident after it; the same object if nothing changed.
        refusal: why nothing was done; None: it was done, now or before.
        resolved: the incident, if the command resolved it.
        escalation: of the incident, if the command escalated it.
        submissions: the messages that it enqueued.
    """

    before: Incident
    after: Incident
    refusal: Refusal | None = None
    resolved: ResolvedIncident | None = None
    escalation: Escalation | None = None
    submissions: tuple[Submission, ...] = ()

    @property
    def changed(self) -> bool:
        return self.after is not self.before

    @property
    def first_acknowledgement(self) -> bool:
        """Whether the command is the first acknowledgement of the incident."""
        return self.before.first_acknowledged_at is None and self.after.first_acknowledged_at is not None


def perform(
    connection: Connection,
    incident_id: str,
    wanted: Command,
    *,
    actor: Actor,
    version: int | None,
    target: NotificationTarget,
    now: float,
) -> Performed | None:
    """Carries out a command, and shows the change in the incident's message; None: no such incident exists.

    Args:
        connection: in a transaction.
        incident_id: of the incident.
        wanted: the command.
        actor: who gives it.
        version: of the incident that the person saw; None: the person means it as it is.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    cluster = connection.execute(select(incident.c.cluster).where(incident.c.id == incident_id)).scalar()
    if cluster is None:
        return None
    cluster_store.lock(connection, cluster)
    before = incident_store.load(connection, [incident_id])[incident_id]
    if isinstance(wanted, Escalate):
        return _escalate(connection, before, actor=actor, version=version, target=target, now=now)
    seen = before.version if version is None else version
    if isinstance(wanted, AddNote) and timeline.has(
        connection, incident_id, TimelineKind.NOTE, actor, text=wanted.text, version=seen
    ):
        return Performed(before, before)
    after = command(before, wanted, actor, version, now)
    if isinstance(after, Refusal):
        return Performed(before, before, after)
    if after is before:
        return Performed(before, before)
    detail = {"text": wanted.text, "version": seen} if isinstance(wanted, AddNote) else None
    incident_store.save(connection, [after])
    timeline.add(connection, [TimelineRow(incident_id, _KINDS[type(wanted)], actor, detail=detail)], now)
    _set_timer(connection, after, target, now)
    resolved = None
    if isinstance(wanted, Resolve):
        episode_store.end_by_hand(connection, incident_id, now)
        resolved = incident_store.resolved(connection, after)
    composed = projection.project(connection, [incident_id], {incident_id: before}, target=target, now=now)
    submissions = notification_store.enqueue_all(connection, composed, target, now)
    return Performed(before, after, resolved=resolved, submissions=tuple(submissions))


def _escalate(
    connection: Connection,
    before: Incident,
    *,
    actor: Actor,
    version: int | None,
    target: NotificationTarget,
    now: float,
) -> Performed:
    """Reaches the next level of escalation; a repetition of the same command reaches no further one."""
    seen = before.version if version is None else version
    if timeline.has(connection, before.id, TimelineKind.ESCALATED, actor, version=seen):
        return Performed(before, before)
    if before.state is IncidentState.RESOLVED:
        return Performed(before, before, Refusal.RESOLVED)
    if version not in (None, before.version):
        return Performed(before, before, Refusal.MOVED_ON)
    done = levels.escalate(connection, before, EscalationCause.REQUESTED, actor=actor, target=target, now=now)
    if done is None:
        return Performed(before, before, Refusal.NO_LEVEL)
    return Performed(before, done.after, escalation=done, submissions=done.submissions)


def _set_timer(connection: Connection, after: Incident, target: NotificationTarget, now: float) -> None:
    """Sets the end of an acknowledgement, which counts for a limited time."""
    if after.state is IncidentState.ACKNOWLEDGED and target.acknowledge_seconds:
        at = after.acknowledged_at or now
        timers.start(connection, after.id, TimerKind.UNATTENDED, at + target.acknowledge_seconds - now, now)
    else:
        timers.stop(connection, after.id, TimerKind.UNATTENDED)
