"""Shows changed incidents in their messages: reads them, puts storms together, composes notifications.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import storms, throttles, timers
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.notifications import assignment, audience, composition, sounds, store
from services.alert_relay.notifications.audience import Member
from services.alert_relay.notifications.composition import NO_ORIGIN, IncidentView, Origin
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    Purpose,
)
from services.alert_relay.notifications.store import STORM_SECONDS, Addressed, NotificationTarget

NO_NEWS: Mapping[str, Sequence[NotifiedAlert]] = {}


@dataclass(frozen=True, slots=True)
class Reminder:
    """How an incident is now, as news.

    Args:
        targets: that get it; None: all that have been notified of the incident.
        level: of escalation, if it adds targets to the audience.
    """

    targets: frozenset[Target] | None = None
    level: int = 0


def project(
    connection: Connection,
    touched: Sequence[str],
    before: Mapping[str, Incident],
    news: Mapping[str, Sequence[NotifiedAlert]] = NO_NEWS,
    *,
    origin: Origin = NO_ORIGIN,
    remind: Reminder | None = None,
    target: NotificationTarget,
    now: float,
) -> list[Addressed]:
    """Returns the notifications of incidents that have changed, or that people are notified of.

    Args:
        connection: in a transaction, in which the incidents are written.
        touched: ids of incidents.
        before: those of them that existed, as they were before, by id.
        news: by the incident's id, the alerts that people are notified of.
        origin: where the change comes from.
        remind: makes news of how the incidents are now; None: it is none.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    views = store.views(connection, incident_store.load(connection, touched))
    policies = assignment.policies(views.values(), target.route)
    new = [each for each in views.values() if each.incident.id not in before]
    views |= _joined(connection, [each for each in new if news.get(each.incident.id)], policies, target, now)
    views, audiences = _audiences(connection, views, policies, news, remind=remind, target=target, now=now)
    composed: list[Addressed] = []
    of_storms: dict[str, list[str]] = {}
    for incident_id, shown in views.items():
        view, members, known = shown, audiences.get(incident_id, ()), before.get(incident_id)
        if composition.is_flapping(view.incident):
            timers.start(connection, incident_id, TimerKind.STABLE, target.reopen_seconds, now)
        if members:
            assignment.set_timers(connection, known, view.incident, target.route, now)
        of_incident = composition.reminded(view) if remind and members else news.get(incident_id, ())
        changed = known is None or known.version != view.incident.version
        if view.storm_id is not None and changed:
            of_storms.setdefault(view.storm_id, []).append(incident_id)
        if view.storm_id is not None and _leaves_storm(view, of_incident, remind):
            storms.leave(connection, incident_id)
            view = replace(view, storm_id=None)
        if view.storm_id is None:
            made = _composed(known, view, of_incident, members, remind=remind, origin=origin)
            if remind is None and _is_throttled(made, view, target, now):
                made = _held_back(connection, view, members, target, now)
            composed += made
    sounds.record(connection, [each.notification for each in composed], now)
    for storm_id, ids in of_storms.items():
        composed += _of_storm(connection, storm_id, ids, audiences)
    return composed


def _audiences(
    connection: Connection,
    views: Mapping[str, IncidentView],
    policies: Mapping[str, str],
    news: Mapping[str, Sequence[NotifiedAlert]],
    *,
    remind: Reminder | None,
    target: NotificationTarget,
    now: float,
) -> tuple[dict[str, IncidentView], dict[str, tuple[Member, ...]]]:
    """Returns the incidents, and the audience of each with those who are notified of it from now on."""
    members = audience.load(connection, list(views))
    first = [
        each for each in views.values() if each.incident.id not in members and news.get(each.incident.id)
    ]
    members |= assignment.assign(connection, first, policies, target.route, now)
    assigned = {
        each.incident.id: replace(
            each, incident=replace(each.incident, policy=policies[each.incident.id], escalates_from=now)
        )
        for each in first
    }
    if remind is not None and remind.targets:
        for incident_id, known in members.items():
            members[incident_id] = assignment.extend(
                connection, incident_id, known, remind.targets, level=remind.level, now=now
            )
    return {**views, **assigned}, members


def _composed(
    before: Incident | None,
    view: IncidentView,
    news: Sequence[NotifiedAlert],
    members: Sequence[Member],
    *,
    remind: Reminder | None,
    origin: Origin,
) -> list[Addressed]:
    """Composes for each part of the audience: those who have the same first message and get the same news."""
    parts: dict[tuple[str | None, bool], list[Target]] = {}
    for each in members:
        gets_news = remind is None or remind.targets is None or each.target in remind.targets
        parts.setdefault((each.first_event, gets_news), []).append(each.target)
    return [
        Addressed(notification, tuple(targets))
        for (first_event, gets_news), targets in parts.items()
        for notification in composition.compose(
            before, replace(view, first_event=first_event), news if gets_news else (), origin
        )
    ]


def _is_throttled(
    made: Sequence[Addressed], view: IncidentView, target: NotificationTarget, now: float
) -> bool:
    if not any(each.notification.purpose is Purpose.NEWS for each in made):
        return False
    resolved = view.incident.resolved_at is not None
    # A person's doing is reported.
    if view.incident.resolved_by is not None:
        return False
    seconds = throttles.seconds_for(target.throttles, view.name)
    return throttles.is_held_back(
        view.last_sound, seconds, view.incident.severity, resolved=resolved, now=now
    )


def _held_back(
    connection: Connection,
    view: IncidentView,
    members: Sequence[Member],
    target: NotificationTarget,
    now: float,
) -> list[Addressed]:
    """Edits the incident's message, and has a timer report how the incident is then, if it still fires."""
    incident_id, last = view.incident.id, view.last_sound
    sounds.hold_back(connection, incident_id)
    if last is None:
        return []
    seconds = throttles.seconds_for(target.throttles, view.name)
    timers.start(connection, incident_id, TimerKind.THROTTLED, last.at + seconds - now, now)
    shown = replace(view, last_sound=replace(last, held_back=last.held_back + 1))
    edits = _composed(None, shown, (), members, remind=None, origin=NO_ORIGIN)
    return [replace(each, notification=replace(each.notification, throttled=True)) for each in edits]


def _of_storm(
    connection: Connection,
    storm_id: str,
    incident_ids: Sequence[str],
    audiences: Mapping[str, Collection[Member]],
) -> list[Addressed]:
    """The message of a storm: the first one for some targets, and for others the storm as it is now."""
    known = audience.of_storm(connection, storm_id)
    targets = list(dict.fromkeys(each.target for one in incident_ids for each in audiences.get(one, ())))
    storm = storms.load(connection, storm_id)
    parts = {
        False: tuple(each for each in targets if each in known),
        True: tuple(each for each in targets if each not in known),
    }
    return [
        Addressed(composition.of_storm(storm, incident_ids, is_first=is_first), part)
        for is_first, part in parts.items()
        if part
    ]


def _joined(
    connection: Connection,
    new: Sequence[IncidentView],
    policies: Mapping[str, str],
    target: NotificationTarget,
    now: float,
) -> dict[str, IncidentView]:
    """Returns the new incidents that are part of a storm, by id. The incidents of a storm have one policy."""
    by_policy: dict[str, list[IncidentView]] = {}
    for each in new:
        if each.storm_id is None and not composition.is_single(each.incident):
            by_policy.setdefault(policies[each.incident.id], []).append(each)
    joined: dict[str, IncidentView] = {}
    for policy, views in by_policy.items():
        storm_id = storms.join(
            connection,
            views[0].cluster,
            policy,
            [each.incident.id for each in views],
            most=target.storm_incidents,
            seconds=STORM_SECONDS,
            now=now,
        )
        joined |= {each.incident.id: replace(each, storm_id=storm_id) for each in views}
    return joined


def _leaves_storm(view: IncidentView, news: Sequence[NotifiedAlert], remind: Reminder | None) -> bool:
    """Whether an incident of a storm gets a message of its own: it became urgent, or goes on for long.

    A storm that escalates stays one message: the new targets get it.
    """
    if remind is not None and remind.level:
        return False
    repeated = any(each.kind is NotificationKind.REPEATED for each in news)
    return repeated or (bool(news) and composition.is_single(view.incident))


def addressed(composed: Sequence[Notification], targets: Sequence[Target]) -> list[Addressed]:
    """Returns notifications that go to the same targets."""
    return [Addressed(each, tuple(targets)) for each in composed]
