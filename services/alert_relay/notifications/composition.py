"""Decides what people are notified of, how loudly, and by which messages. Pure.

An incident has one message in each chat. It is edited when the incident changes, which makes no sound. What
somebody should hear of is sent as an answer to it:

* another alert fires, or the incident is reopened;
* the last alert ended, or a person resolved the incident;
* Alertmanager repeats a firing alert, and nobody handles the incident.

Many incidents that open at once, a storm, have one message together, which is edited; urgent ones always have
one of their own.

An incident that is reopened again and again is answered :data:`MOST_REOPENED` times. Then only its message
changes, which says how often it was reopened, until it has not changed for a while: that is news again.

News may be held back for a while: see ``throttles``, and ``maintenance`` for alerts that a window matches.

A webhook without a change is one of two things, and its content does not show which:

* a redelivery: our answer was lost and Alertmanager retries, or a peer of the cluster delivers too;
* Alertmanager's repeat, ``repeat_interval`` after the last notification.

So a firing alert is repeated ("still firing since") when people were last notified of it about one
``repeat_interval`` ago, which the relay reads in Alertmanager's configuration. While every answer to
Alertmanager is lost, the same webhook comes again and again, and people get what they would get without that.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from services.alert_relay.incidents.episodes import (
    OPENING,
    REPEAT_TOLERANCE,
    AlertGroup,
    EpisodeChange,
    Observation,
)
from services.alert_relay.incidents.incident import Incident, IncidentState
from services.alert_relay.incidents.severity import Urgency, urgency_of, worst
from services.alert_relay.incidents.storms import Storm
from services.alert_relay.incidents.throttles import LastSound
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    NotifiedIncident,
    NotifiedStorm,
    Purpose,
    Source,
)

#: So many times the reopening and the end of an incident are answered, while it goes on.
MOST_REOPENED = 2

TRANSITIONS = (*OPENING, EpisodeChange.RESOLVED)


def is_flapping(incident: Incident) -> bool:
    """Whether its reopening and its end are no news any more."""
    return incident.flaps > MOST_REOPENED


def to_notify(
    observations: Sequence[Observation],
    repeat_seconds: float,
    now: float,
    acknowledged: Collection[str] = (),
) -> list[Observation]:
    """Returns the observations that people are notified of; the module's docstring has the rule.

    Args:
        observations: all alerts of one webhook.
        repeat_seconds: Alertmanager's ``repeat_interval`` for its receiver.
        now: seconds since the epoch.
        acknowledged: ids of the incidents that a person handles: their repeats cause no notification.
    """
    transitions = [each for each in observations if each.change in TRANSITIONS or _is_unknown(each)]
    return transitions or [
        each
        for each in observations
        if _is_repeat(each, repeat_seconds, now)
        and (each.before is None or each.before.incident_id not in acknowledged)
    ]


def _is_unknown(each: Observation) -> bool:
    """Whether people do not know yet that the alert fires: it was silenced until now."""
    return each.change is EpisodeChange.CONTINUES and (
        each.before is not None and each.before.notified_at is None
    )


def _is_repeat(each: Observation, repeat_seconds: float, now: float) -> bool:
    if each.change is not EpisodeChange.CONTINUES or each.before is None or each.before.notified_at is None:
        return False
    return now - each.before.notified_at >= REPEAT_TOLERANCE * repeat_seconds


@dataclass(frozen=True, slots=True)
class IncidentView:
    """An incident with the alerts that its message lists.

    Args:
        incident: as it is now.
        name: of its alerts.
        cluster: name of the cluster.
        external_url: of Alertmanager, for links; empty if unknown.
        alerts: some of its alerts, firing ones first.
        firing: the number of its alerts that fire.
        storm_id: of the storm whose message shows it; None: it has a message of its own.
        first_event: id of the event of its first message; None: there is none yet.
        last_sound: the last notification of it with a sound; None: there was none.
    """

    incident: Incident
    name: str
    cluster: str
    external_url: str
    alerts: tuple[NotifiedAlert, ...]
    firing: int
    first_event: str | None = None
    storm_id: str | None = None
    last_sound: LastSound | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the change of an incident comes from.

    Args:
        truncated: the number of alerts that Alertmanager left out of the webhook.
        source: where the relay has the alerts from.
    """

    truncated: int = 0
    source: Source = Source.WEBHOOK


#: A change that comes from a person or a timer.
NO_ORIGIN = Origin()


def compose(
    before: Incident | None,
    view: IncidentView,
    news: Sequence[NotifiedAlert] = (),
    origin: Origin = NO_ORIGIN,
) -> list[Notification]:
    """Returns the notifications of one change of an incident.

    Args:
        before: the incident before the change; None: it is new.
        view: the incident after it.
        news: the alerts of the incident that people are notified of, see :func:`to_notify`.
        origin: where the change comes from.
    """
    if view.first_event is None:
        return [_message(view, Purpose.OPENED, origin)] if news else []
    composed = []
    if before is None or view.incident.version != before.version:
        composed.append(_message(view, Purpose.CHANGED, origin))
    listed = _news(before, view.incident, news)
    if listed is not None:
        composed.append(_answer(view, listed, origin))
    return composed


def reminded(view: IncidentView) -> tuple[NotifiedAlert, ...]:
    """Returns the alerts of a reminder: those that still fire, else those that ended."""
    firing = [each for each in view.alerts if each.kind is NotificationKind.FIRING]
    return tuple(replace(each, kind=NotificationKind.REPEATED) for each in firing) or view.alerts


def is_single(incident: Incident) -> bool:
    """Whether the incident always has a message of its own: it is urgent."""
    return urgency_of(incident.severity) is Urgency.LOUD


def of_storm(storm: Storm, changed: Sequence[str], *, is_first: bool) -> Notification:
    """Returns the message of a storm, as it is now.

    Args:
        storm: as it is now.
        changed: ids of the incidents that have changed.
        is_first: whether its targets have no message of it yet.
    """
    severity = worst([each.severity for each in storm.incidents])
    signs = {True: "✅", False: "🔥"}
    incidents = tuple(
        (each.name, each.severity, "👤" if each.acknowledged else signs[each.resolved])
        for each in storm.incidents
    )
    return Notification(
        urgency_of(severity),
        (),
        0,
        0,
        "",
        cluster=storm.cluster,
        purpose=Purpose.STORM,
        storm=NotifiedStorm(storm.id, incidents, storm.open, storm.resolved, tuple(changed), is_first),
    )


def unreadable(group: AlertGroup) -> list[Notification]:
    """Returns the notification of the alerts that could not be read. It is urgent: it may be anything."""
    if not group.unreadable:
        return []
    return [
        Notification(
            Urgency.LOUD,
            (),
            0,
            group.truncated,
            group.external_url,
            unreadable=group.unreadable,
            cluster=group.cluster,
            purpose=Purpose.FAULT,
        )
    ]


def _news(
    before: Incident | None, after: Incident, news: Sequence[NotifiedAlert]
) -> tuple[NotifiedAlert, ...] | None:
    """Returns the alerts that the answer lists; None: nothing is sent."""
    reopened = before is not None and after.reopened > before.reopened
    rested = before is not None and is_flapping(before) and not is_flapping(after)
    resolved = after.state is IncidentState.RESOLVED and (
        before is None or before.state is not IncidentState.RESOLVED or reopened or rested
    )
    items = _ordered(news)
    if (resolved or reopened) and is_flapping(after):
        # An alert that people do not know is news all the same.
        return tuple(each for each in items if each.is_new and each.kind is NotificationKind.FIRING) or None
    if resolved:
        by_hand = after.resolved_by is not None
        ended = tuple(each for each in items if each.kind is NotificationKind.RESOLVED)
        return ended if items or by_hand else None
    return tuple(each for each in items if each.kind is not NotificationKind.RESOLVED) or None


def _message(view: IncidentView, purpose: Purpose, origin: Origin) -> Notification:
    """The incident's message, as it shows the incident now."""
    listed = sum(each.kind is not NotificationKind.RESOLVED for each in view.alerts)
    return Notification(
        urgency_of(view.incident.severity),
        view.alerts,
        view.firing - listed,
        origin.truncated,
        view.external_url,
        source=origin.source,
        cluster=view.cluster,
        purpose=purpose,
        incident=_incident(view),
    )


def _answer(view: IncidentView, items: tuple[NotifiedAlert, ...], origin: Origin) -> Notification:
    firing = [each for each in items if each.kind is not NotificationKind.RESOLVED]
    severity = worst([each.severity for each in firing]) if firing else view.incident.severity
    return Notification(
        urgency_of(severity),
        items,
        view.firing - len(firing),
        origin.truncated,
        view.external_url,
        source=origin.source,
        cluster=view.cluster,
        purpose=Purpose.NEWS,
        incident=_incident(view),
    )


def _incident(view: IncidentView) -> NotifiedIncident:
    incident = view.incident
    return NotifiedIncident(
        id=incident.id,
        version=incident.version,
        name=view.name,
        severity=incident.severity,
        firing=view.firing,
        resolved_at=incident.resolved_at,
        resolved_by=str(incident.resolved_by) if incident.resolved_by else "",
        acknowledged_by=str(incident.acknowledged_by) if incident.acknowledged_by else "",
        acknowledged_at=incident.acknowledged_at,
        reopened=incident.reopened,
        first_event=view.first_event or "",
        level=incident.level + 1,
        round=incident.round + 1,
        held_back=view.last_sound.held_back if view.last_sound else 0,
    )


def item_of(each: Observation, incident_id: str) -> NotifiedAlert:
    """Returns an observed alert as a notification of its incident lists it."""
    alert = each.alert
    return NotifiedAlert(
        NotificationKind.FIRING if _is_unknown(each) else kind_of(each.change),
        alert.fingerprint,
        alert.name,
        alert.severity,
        dict(alert.labels),
        dict(alert.annotations),
        alert.generator_url,
        each.since,
        alert.ends_at,
        is_new=each.before is None or each.before.incident_id != incident_id,
    )


def kind_of(change: EpisodeChange) -> NotificationKind:
    if change in (EpisodeChange.FIRED, EpisodeChange.REFIRED):
        return NotificationKind.FIRING
    return NotificationKind.REPEATED if change is EpisodeChange.CONTINUES else NotificationKind.RESOLVED


def _ordered(items: Sequence[NotifiedAlert]) -> tuple[NotifiedAlert, ...]:
    """Sorts firing alerts before resolved ones and keeps Alertmanager's order within each kind."""
    order = list(NotificationKind)
    return tuple(sorted(items, key=lambda item: order.index(item.kind)))
