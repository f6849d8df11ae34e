"""The incident: what is observed and what people do change it, step by step. Pure.

An incident groups the episodes of one alert name and one set of group labels. Each change of an incident is
an event with an actor, and :func:`reduce` returns the incident after it. Each change gives the incident a new
version. A person's command carries the version that the person saw.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from services.alert_relay.incidents.severity import worst


class IncidentState(StrEnum):
    FIRING = "firing"  #: at least one episode is open, and nobody has acknowledged the incident
    ACKNOWLEDGED = "acknowledged"  #: at least one episode is open, and a person handles it
    RESOLVED = "resolved"  #: every episode is closed


#: The states of an incident that has an open episode.
OPEN = (IncidentState.FIRING, IncidentState.ACKNOWLEDGED)


class ActorKind(StrEnum):
    """Who or what changed an incident."""

    ALERTMANAGER = "alertmanager"  #: by a webhook, or as its API lists the alerts
    ALERT_RELAY = "alert_relay"  #: the service itself, such as an alert that it raises or a timer
    API = "api"  #: a call of the REST API
    TELEGRAM = "telegram"  #: a person in Telegram


@dataclass(frozen=True, slots=True)
class Actor:
    """Who or what changed an incident.

    Args:
        kind: of the actor.
        name: of the person, or of the Alertmanager cluster; empty if unknown.
        user_id: the person's id in Telegram.
    """

    kind: ActorKind
    name: str = ""
    user_id: int | None = None

    def __str__(self) -> str:
        return self.name or ("A caller of the API" if self.kind is ActorKind.API else self.kind.value)

    def is_same(self, other: "Actor") -> bool:
        """Whether both are one person or program, also if a Telegram user has changed the name."""
        if self.user_id is not None or other.user_id is not None:
            return self.user_id == other.user_id
        return (self.kind, self.name) == (other.kind, other.name)


#: The service itself.
ALERT_RELAY = Actor(ActorKind.ALERT_RELAY)


@dataclass(frozen=True, slots=True)
class Incident:
    """An incident; times are seconds since the epoch.

    Args:
        id: of the incident.
        version: starts at 1, and grows with each change.
        state: see :class:`IncidentState`.
        severity: the worst of its alerts.
        opened_at: when its first alert was received.
        resolved_at: None while it is open.
        resolved_by: the person who resolved it; None: it is open, or its alerts ended.
        acknowledged_by: who acknowledged it; None: nobody, or the acknowledgement was taken back.
        acknowledged_at: None if ``acknowledged_by`` is None.
        first_acknowledged_at: when it was first acknowledged since it opened; it stays.
        reopened: how often it fired again after it had resolved.
        flaps: how often it did so since it was last stable.
        policy: name of its escalation policy; None: it has none.
        level: of escalation that was reached, from 0.
        round: how often all levels were gone through before.
        escalates_from: since when its levels are counted; None: it was not notified yet.
    """

    id: str
    version: int
    state: IncidentState
    severity: str
    opened_at: float
    resolved_at: float | None = None
    resolved_by: Actor | None = None
    acknowledged_by: Actor | None = None
    acknowledged_at: float | None = None
    first_acknowledged_at: float | None = None
    reopened: int = 0
    flaps: int = 0
    policy: str | None = None
    level: int = 0
    round: int = 0
    escalates_from: float | None = None


@dataclass(frozen=True, slots=True)
class Fired:
    """Alerts of the incident fired.

    Args:
        severity: the worst of them.
    """

    severity: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Alerts of the incident ended.

    Args:
        firing: the number of its alerts that still fire.
    """

    firing: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A person handles the incident."""


@dataclass(frozen=True, slots=True)
class Unacknowledge:
    """Takes the acknowledgement back."""


@dataclass(frozen=True, slots=True)
class Resolve:
    """A person ends the incident, whatever Alertmanager reports."""


@dataclass(frozen=True, slots=True)
class AddNote:
    """Adds a note to the timeline.

    Args:
        text: of the note.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """Reaches the next level of escalation now, also while a person handles the incident."""


@dataclass(frozen=True, slots=True)
class BecameStable:
    """The incident fires, and has not changed for a while."""


@dataclass(frozen=True, slots=True)
class Escalated:
    """A level of escalation was reached: the time of the earlier one passed, or a person wants it.

    Args:
        level: from 1; the first level of a later round is 0.
        round: from 0.
    """

    level: int
    round: int


Command = Acknowledge | Unacknowledge | Resolve | AddNote | Escalate
Event = Fired | Ended | BecameStable | Escalated | Command


class Refusal(StrEnum):
    """Why a command is refused."""

    RESOLVED = "resolved"  #: the incident is resolved
    ACKNOWLEDGED = "acknowledged"  #: another person has acknowledged it
    NO_LEVEL = "no_level"  #: the incident has reached the last level of its escalation, or has no policy
    MOVED_ON = "moved_on"  #: the incident has changed since the version that the person saw


def reduce(before: Incident, event: Event, actor: Actor, now: float) -> Incident:
    """Returns the incident after an event; the same object if the event changes nothing.

    Args:
        before: the incident.
        event: what was observed, or what a person does.
        actor: who or what caused it.
        now: seconds since the epoch.
    """
    match event:
        case Fired(severity):
            after = _fired(before, severity, now)
        case Ended(firing):
            after = _ended(before, firing, now)
        case Acknowledge():
            after = _acknowledged(before, actor, now)
        case Unacknowledge():
            after = _unacknowledged(before, now)
        case Resolve():
            after = _ended(before, 0, now, actor)
        case AddNote():
            after = _next(before)
        case BecameStable():
            after = _next(before, flaps=0) if before.flaps else before
        case Escalate():
            # What the next level is stands in the settings: the event `Escalated` has it.
            after = before
        case Escalated(level, number):
            after = _escalated(before, level, number)
    return after


def command(
    before: Incident, wanted: Command, actor: Actor, version: int | None, now: float
) -> Incident | Refusal:
    """Returns the incident after a person's command, or why it is refused.

    A command on an incident that has changed since is refused, unless it changes nothing: then it was done
    already, perhaps by the same command, whose answer was lost.

    Args:
        before: the incident.
        wanted: the command.
        actor: who gives it.
        version: of the incident that the person saw; None: the person means it as it is.
        now: seconds since the epoch.
    """
    if before.state is IncidentState.RESOLVED and isinstance(wanted, Acknowledge | Unacknowledge):
        return Refusal.RESOLVED
    taken = before.acknowledged_by
    if isinstance(wanted, Acknowledge) and taken is not None and not taken.is_same(actor):
        return Refusal.ACKNOWLEDGED
    after = reduce(before, wanted, actor, now)
    return after if after is before or version in (None, before.version) else Refusal.MOVED_ON


def _next(before: Incident, **changes: Any) -> Incident:
    return replace(before, version=before.version + 1, **changes)


def _fired(before: Incident, severity: str, now: float) -> Incident:
    severity = worst([before.severity, severity])
    if before.state is not IncidentState.RESOLVED:
        return _next(before, severity=severity)
    # An incident that fires again needs a person again: its levels are counted anew.
    return _next(
        before,
        severity=severity,
        state=IncidentState.FIRING,
        resolved_at=None,
        resolved_by=None,
        acknowledged_by=None,
        acknowledged_at=None,
        reopened=before.reopened + 1,
        flaps=before.flaps + 1,
        level=0,
        round=0,
        escalates_from=now,
    )


def _ended(before: Incident, firing: int, now: float, by: Actor | None = None) -> Incident:
    if before.state is IncidentState.RESOLVED:
        return before
    if firing:
        return _next(before)
    return _next(before, state=IncidentState.RESOLVED, resolved_at=now, resolved_by=by)


def _acknowledged(before: Incident, actor: Actor, now: float) -> Incident:
    if before.state is not IncidentState.FIRING:
        return before
    first = before.first_acknowledged_at
    return _next(
        before,
        state=IncidentState.ACKNOWLEDGED,
        acknowledged_by=actor,
        acknowledged_at=now,
        first_acknowledged_at=now if first is None else first,
    )


def _unacknowledged(before: Incident, now: float) -> Incident:
    if before.state is not IncidentState.ACKNOWLEDGED:
        return before
    return _next(
        before,
        state=IncidentState.FIRING,
        acknowledged_by=None,
        acknowledged_at=None,
        level=0,
        round=0,
        escalates_from=now,
    )


def _escalated(before: Incident, level: int, number: int) -> Incident:
    if before.state is IncidentState.RESOLVED or (number, level) <= (before.round, before.level):
        return before
    return _next(before, level=level, round=number)
