"""The SQL of incidents.

Each function runs inside a transaction that has locked the cluster's row, so that the changes of an incident
are made one after the other.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, update
from uuid_utils import uuid7

from services.alert_relay.incidents import timeline
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.episodes import OPENING, AlertGroup, Observation, incident_key
from services.alert_relay.incidents.incident import Actor, Ended, Fired, Incident, IncidentState, reduce
from services.alert_relay.incidents.severity import worst
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.schema import episode, incident


@dataclass(frozen=True, slots=True)
class ResolvedIncident:
    """An incident that a transaction resolved.

    Args:
        seconds: from the start of its first alert to the end of its last.
        acknowledged: whether a person had acknowledged it since it opened.
        alerts: the number of its episodes.
    """

    seconds: float
    acknowledged: bool
    alerts: int


def load(connection: Connection, incident_ids: Sequence[str]) -> dict[str, Incident]:
    """Returns incidents by id."""
    found = {}
    for chunk in chunks(incident_ids):
        for row in connection.execute(select(incident).where(incident.c.id.in_(chunk))):
            found[row.id] = _incident(row)
    return found


def _incident(row: Row[Any]) -> Incident:
    return Incident(
        id=row.id,
        version=row.version,
        state=IncidentState(row.state),
        severity=row.severity,
        opened_at=row.opened_at,
        resolved_at=row.resolved_at,
        resolved_by=timeline.from_json(row.resolved_by),
        acknowledged_by=timeline.from_json(row.acknowledged_by),
        acknowledged_at=row.acknowledged_at,
        first_acknowledged_at=row.first_acknowledged_at,
        reopened=row.reopened,
        flaps=row.flaps,
        policy=row.policy,
        level=row.level,
        round=row.round,
        escalates_from=row.escalates_from,
    )


def save(connection: Connection, incidents: Iterable[Incident]) -> None:
    """Writes what can change of incidents."""
    rows = [
        {
            "b_id": each.id,
            "version": each.version,
            "state": each.state.value,
            "severity": each.severity,
            "resolved_at": each.resolved_at,
            "resolved_by": _text(each.resolved_by),
            "acknowledged_by": _text(each.acknowledged_by),
            "acknowledged_at": each.acknowledged_at,
            "first_acknowledged_at": each.first_acknowledged_at,
            "reopened": each.reopened,
            "flaps": each.flaps,
            "level": each.level,
            "round": each.round,
            "escalates_from": each.escalates_from,
        }
        for each in incidents
    ]
    if rows:
        values: dict[str, Any] = {name: bindparam(name) for name in rows[0] if name != "b_id"}
        connection.execute(update(incident).where(incident.c.id == bindparam("b_id")).values(values), rows)


def acknowledged(connection: Connection, incident_ids: Sequence[str]) -> frozenset[str]:
    """Returns those of the incidents that a person handles."""
    handled = (each for each in load(connection, incident_ids).values())
    return frozenset(each.id for each in handled if each.state is IncidentState.ACKNOWLEDGED)


def _text(actor: Actor | None) -> str | None:
    return None if actor is None else timeline.to_json(actor)


def groups_of(connection: Connection, incident_ids: Sequence[str]) -> dict[str, tuple[str, dict[str, str]]]:
    """Returns the receiver and the group labels of incidents, by id."""
    found = {}
    for chunk in chunks(incident_ids):
        query = select(incident.c.id, incident.c.receiver, incident.c.group_labels)
        for row in connection.execute(query.where(incident.c.id.in_(chunk))):
            found[row.id] = (row.receiver, json.loads(row.group_labels))
    return found


@dataclass(frozen=True, slots=True)
class Assigned:
    """The incidents of observed alerts.

    Args:
        incident_ids: by the alert's fingerprint.
        before: the incidents that existed, by id, as they were before; also those of earlier episodes.
    """

    incident_ids: Mapping[str, str]
    before: Mapping[str, Incident]


def assign(
    connection: Connection,
    group: AlertGroup,
    observations: Sequence[Observation],
    *,
    actor: Actor,
    reopen_seconds: float,
    now: float,
) -> Assigned:
    """Finds the incident of each alert; opens and reopens incidents.

    An alert that fires belongs to the open incident of its name and group labels, or to one that was resolved
    a short time ago, which is reopened; else it opens a new one.

    Args:
        connection: in a transaction that has locked the cluster's row.
        group: the group that the alerts belong to.
        observations: of alerts, each once.
        actor: who or what reported them.
        reopen_seconds: how long after its resolution an incident is reopened.
        now: seconds since the epoch.
    """
    incident_ids = {each.alert.fingerprint: each.before.incident_id for each in observations if each.before}
    known = load(connection, list(dict.fromkeys(incident_ids.values())))
    firing: dict[str, list[Observation]] = {}
    for each in observations:
        if each.change in OPENING:
            key = incident_key(group.cluster, each.alert.name, group.group_labels)
            firing.setdefault(key, []).append(each)
    existing = _newest(connection, list(firing), now - reopen_seconds)
    new_rows, changed, entries = [], [], []
    for key, members in firing.items():
        severity = worst([each.alert.severity for each in members])
        before = existing.get(key)
        if before is None:
            incident_id = str(uuid7())
            row = _new_row(group, members[0].alert.name, severity, now)
            new_rows.append(row | {"id": incident_id, "key": key})
        else:
            incident_id = before.id
            after = reduce(before, Fired(severity), actor, now)
            changed.append(after)
            if after.reopened > before.reopened:
                detail = {"times": after.reopened}
                entries.append(TimelineRow(incident_id, TimelineKind.REOPENED, actor, detail=detail))
        incident_ids |= {each.alert.fingerprint: incident_id for each in members}
    if new_rows:
        connection.execute(insert(incident), new_rows)
    save(connection, changed)
    timeline.add(connection, entries, now)
    return Assigned(incident_ids, known | {each.id: each for each in existing.values()})


def _newest(connection: Connection, keys: Sequence[str], resolved_since: float) -> dict[str, Incident]:
    """Returns by key the open incident, else the one that was resolved last, if not before that time."""
    found: dict[str, Incident] = {}
    for chunk in chunks(keys):
        recent = incident.c.resolved_at.is_(None) | (incident.c.resolved_at >= resolved_since)
        query = select(incident).where(incident.c.key.in_(chunk), recent)
        for row in connection.execute(query):
            known = found.get(row.key)
            if known is None or (
                known.resolved_at is not None
                and (row.resolved_at is None or row.resolved_at > known.resolved_at)
            ):
                found[row.key] = _incident(row)
    return found


def _new_row(group: AlertGroup, alertname: str, severity: str, now: float) -> dict[str, Any]:
    return {
        "cluster": group.cluster,
        "alertname": alertname,
        "severity": severity,
        "group_labels": json.dumps(dict(group.group_labels)),
        "group_key": group.group_key,
        "receiver": group.receiver,
        "external_url": group.external_url,
        "state": IncidentState.FIRING.value,
        "version": 1,
        "level": 0,
        "round": 0,
        "reopened": 0,
        "opened_at": now,
        "updated_at": now,
    }


def end(
    connection: Connection, incident_ids: Collection[str], actor: Actor, now: float
) -> list[ResolvedIncident]:
    """Applies the end of episodes to their incidents; returns those that it resolved.

    Args:
        connection: in a transaction that has locked the cluster's row, and has ended the episodes.
        incident_ids: of incidents with an episode that ended.
        actor: who or what reported it.
        now: seconds since the epoch.
    """
    ids = sorted(incident_ids)
    incidents = load(connection, ids)
    counted = count(connection, ids)
    changed, entries, resolved = [], [], []
    for before in incidents.values():
        counts = counted[before.id]
        after = reduce(before, Ended(counts.firing), actor, now)
        if after is before:
            continue
        changed.append(after)
        if after.state is IncidentState.RESOLVED:
            entries.append(TimelineRow(after.id, TimelineKind.CLOSED, actor))
            resolved.append(_resolved(after, counts))
    save(connection, changed)
    timeline.add(connection, entries, now)
    return resolved


@dataclass(frozen=True, slots=True)
class EpisodeCounts:
    """The episodes of an incident: their number, the open ones, the first start and the last end."""

    episodes: int
    firing: int
    starts_at: float
    ended_at: float | None


def resolved(connection: Connection, after: Incident) -> ResolvedIncident:
    """Returns what is counted of an incident that a person resolved."""
    return _resolved(after, count(connection, [after.id])[after.id])


def _resolved(after: Incident, counts: EpisodeCounts) -> ResolvedIncident:
    ended_at = counts.starts_at if counts.ended_at is None else counts.ended_at
    return ResolvedIncident(
        seconds=max(0.0, ended_at - counts.starts_at),
        acknowledged=after.first_acknowledged_at is not None,
        alerts=counts.episodes,
    )


def count(connection: Connection, incident_ids: Sequence[str]) -> Mapping[str, EpisodeCounts]:
    """Returns what the episodes of incidents add up to, by the incident's id."""
    found = {}
    for chunk in chunks(incident_ids):
        query = select(
            episode.c.incident_id,
            func.count(),
            func.count(episode.c.closed_at),
            func.min(episode.c.starts_at),
            func.max(episode.c.ended_at),
        )
        in_chunk = query.where(episode.c.incident_id.in_(chunk)).group_by(episode.c.incident_id)
        for incident_id, number, closed, starts_at, ended_at in connection.execute(in_chunk):
            found[incident_id] = EpisodeCounts(number, number - closed, starts_at, ended_at)
    return {each: found.get(each, EpisodeCounts(0, 0, 0.0, None)) for each in incident_ids}
