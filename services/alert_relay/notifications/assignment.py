"""Assigns incidents to people: who is notified of an incident first, and when the next ones are.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, bindparam, update

from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import timers
from services.alert_relay.incidents.incident import Incident, IncidentState
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.notifications import audience
from services.alert_relay.notifications.audience import Member
from services.alert_relay.notifications.composition import IncidentView
from services.alert_relay.notifications.router import Router
from services.alert_relay.schema import incident


def policies(views: Collection[IncidentView], router: Router) -> dict[str, str]:
    """Returns the policy of each incident by its id: the one that it has, else the one that it gets."""
    return {
        each.incident.id: router.policy(common_labels(each))
        if each.incident.policy is None
        else each.incident.policy
        for each in views
    }


def common_labels(view: IncidentView) -> dict[str, str]:
    """Returns the labels that all listed alerts of an incident share, with its name and worst severity."""
    shared = set.intersection(*(set(each.labels.items()) for each in view.alerts)) if view.alerts else set()
    return dict(sorted(shared)) | {"alertname": view.name, "severity": view.incident.severity}


def assign(
    connection: Connection,
    new: Sequence[IncidentView],
    policy: Mapping[str, str],
    router: Router,
    now: float,
) -> dict[str, tuple[Member, ...]]:
    """Gives incidents that people are notified of for the first time their policy and their audience."""
    rows = [{"b_id": each.incident.id, "policy": policy[each.incident.id]} for each in new]
    if rows:
        values = {"policy": bindparam("policy"), "escalates_from": now}
        connection.execute(update(incident).where(incident.c.id == bindparam("b_id")).values(values), rows)
    added = {
        row["b_id"]: tuple(Member(target) for target in router.targets(row["policy"], 0, now)) for row in rows
    }
    audience.add(connection, added, now)
    return added


def extend(
    connection: Connection,
    incident_id: str,
    members: Sequence[Member],
    targets: Collection[Target],
    *,
    level: int,
    now: float,
) -> tuple[Member, ...]:
    """Adds those of the targets to an audience that are not in it yet; returns the whole audience."""
    known = {each.target for each in members}
    added = tuple(Member(each, level) for each in dict.fromkeys(targets) if each not in known)
    audience.add(connection, {incident_id: added}, now)
    return (*members, *added)


def set_timers(
    connection: Connection, before: Incident | None, after: Incident, router: Router, now: float
) -> None:
    """Sets when the next level of escalation is due, if the incident has reached another one or begins anew.

    An incident that a person handles, or that has ended, has none.
    """
    if after.state is not IncidentState.FIRING:
        timers.stop(connection, after.id, TimerKind.ESCALATE)
        return
    if before is not None and _place(before) == _place(after):
        return
    step = router.next_step(after)
    if step is not None:
        timers.start(connection, after.id, TimerKind.ESCALATE, max(0.0, step.due_at - now), now)
    if step is not None or router.fallback(after.policy or ""):
        seconds = router.receipt_seconds(after.policy or "")
        timers.start(connection, after.id, TimerKind.RECEIPT, seconds, now)


def _place(one: Incident) -> tuple[object, ...]:
    return one.state, one.escalates_from, one.round, one.level
