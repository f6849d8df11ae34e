"""Shows changed incidents in their messages: reads them, puts storms together, composes notifications.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection

from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents import storms, throttles, timers
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.notifications import composition, sounds, store
from services.alert_relay.notifications.composition import NO_ORIGIN, IncidentView, Origin
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    Purpose,
)
from services.alert_relay.notifications.store import STORM_SECONDS, NotificationTarget

NO_NEWS: Mapping[str, Sequence[NotifiedAlert]] = {}


def project(
    connection: Connection,
    touched: Sequence[str],
    before: Mapping[str, Incident],
    news: Mapping[str, Sequence[NotifiedAlert]] = NO_NEWS,
    *,
    origin: Origin = NO_ORIGIN,
    remind: bool = False,
    target: NotificationTarget,
    now: float,
) -> list[Notification]:
    """Returns the notifications of incidents that have changed, or that people are notified of.

    Args:
        connection: in a transaction, in which the incidents are written.
        touched: ids of incidents.
        before: those of them that existed, as they were before, by id.
        news: by the incident's id, the alerts that people are notified of.
        origin: where the change comes from.
        remind: whether how the incidents are now is news, if they have been shown before.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    views = store.views(connection, incident_store.load(connection, touched))
    views |= _joined(
        connection, [each for each in views.values() if each.incident.id not in before], news, target, now
    )
    composed: list[Notification] = []
    of_storms: dict[str, list[str]] = {}
    for incident_id, shown in views.items():
        view = shown
        if composition.is_flapping(view.incident):
            timers.start(connection, incident_id, TimerKind.STABLE, target.reopen_seconds, now)
        of_incident, known = news.get(incident_id, ()), before.get(incident_id)
        if remind and (view.first_event or view.storm_id):
            of_incident = composition.reminded(view)
        changed = known is None or known.version != view.incident.version
        if view.storm_id is not None and changed:
            of_storms.setdefault(view.storm_id, []).append(incident_id)
        if view.storm_id is not None and _leaves_storm(view, of_incident):
            storms.leave(connection, incident_id)
            view = replace(view, storm_id=None)
        if view.storm_id is None:
            made = composition.compose(known, view, of_incident, origin)
            if not remind and _is_throttled(made, view, target, now):
                made = _held_back(connection, view, target, now)
            composed += made
    sounds.record(connection, composed, now)
    return composed + [
        composition.of_storm(storms.load(connection, storm_id), ids) for storm_id, ids in of_storms.items()
    ]


def _is_throttled(
    made: Sequence[Notification], view: IncidentView, target: NotificationTarget, now: float
) -> bool:
    if not any(each.purpose is Purpose.NEWS for each in made):
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
    connection: Connection, view: IncidentView, target: NotificationTarget, now: float
) -> list[Notification]:
    """Edits the incident's message, and has a timer report how the incident is then, if it still fires."""
    incident_id, last = view.incident.id, view.last_sound
    sounds.hold_back(connection, incident_id)
    if last is None:
        return []
    seconds = throttles.seconds_for(target.throttles, view.name)
    timers.start(connection, incident_id, TimerKind.THROTTLED, last.at + seconds - now, now)
    held_back = replace(last, held_back=last.held_back + 1)
    shown = composition.compose(None, replace(view, last_sound=held_back))
    return [replace(each, throttled=True) for each in shown]


def _joined(
    connection: Connection,
    new: Sequence[IncidentView],
    news: Mapping[str, Sequence[NotifiedAlert]],
    target: NotificationTarget,
    now: float,
) -> dict[str, IncidentView]:
    """Returns the new incidents that are part of a storm, by id."""
    may_join = [
        each
        for each in new
        if news.get(each.incident.id) and each.storm_id is None and not composition.is_single(each.incident)
    ]
    if not may_join:
        return {}
    ids = [each.incident.id for each in may_join]
    storm_id = storms.join(
        connection, may_join[0].cluster, ids, most=target.storm_incidents, seconds=STORM_SECONDS, now=now
    )
    return {each.incident.id: replace(each, storm_id=storm_id) for each in may_join}


def _leaves_storm(view: IncidentView, news: Sequence[NotifiedAlert]) -> bool:
    """Whether an incident of a storm gets a message of its own: it became urgent, or goes on for long."""
    repeated = any(each.kind is NotificationKind.REPEATED for each in news)
    return repeated or (bool(news) and composition.is_single(view.incident))
