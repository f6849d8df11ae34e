"""The SQL of episodes, incidents and timelines.

Each function runs inside a transaction that has locked the cluster's row, so that the webhooks of one
cluster are processed one after the other.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from uuid_utils import uuid7

from services.alert_relay import notifications
from services.alert_relay.episodes import (
    OPENING,
    Alert,
    AlertGroup,
    Episode,
    EpisodeChange,
    IncidentState,
    Observation,
    TimelineKind,
    incident_key,
)
from services.alert_relay.schema import entry, episode, incident

#: Values in one statement; both databases limit its parameters to about 32,000.
CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """A new entry of an incident's timeline."""

    incident_id: str
    kind: TimelineKind
    fingerprint: str | None
    detail: Mapping[str, Any]  #: JSON


def newest_episodes(connection: Connection, cluster: str, fingerprints: Sequence[str]) -> dict[str, Episode]:
    """Returns the newest stored episode of each alert, by fingerprint."""
    found = {}
    for chunk in _chunks(fingerprints):
        query = select(episode).where(
            episode.c.cluster == cluster, episode.c.fingerprint.in_(chunk), episode.c.newest
        )
        for row in connection.execute(query):
            found[row.fingerprint] = Episode(
                row.id, row.incident_id, row.fingerprint, row.starts_at, row.heard_at, row.ended_at
            )
    return found


def open_episodes(
    connection: Connection, cluster: str, group_labels: Mapping[str, str]
) -> list[tuple[Episode, Alert]]:
    """Returns the open episodes of a group, each with its alert as last received."""
    query = (
        select(episode, incident.c.group_labels)
        .join(incident, incident.c.id == episode.c.incident_id)
        .where(episode.c.cluster == cluster, episode.c.newest, episode.c.closed_at.is_(None))
    )
    return [
        (
            Episode(row.id, row.incident_id, row.fingerprint, row.starts_at, row.heard_at),
            Alert(
                row.fingerprint,
                firing=True,
                labels=json.loads(row.labels),
                annotations=json.loads(row.annotations),
                starts_at=row.starts_at,
                ends_at=None,
                generator_url=row.generator_url,
            ),
        )
        for row in connection.execute(query)
        if json.loads(row.group_labels) == dict(group_labels)
    ]


def assign_incidents(
    connection: Connection, group: AlertGroup, observations: Sequence[Observation], now: float
) -> dict[str, str]:
    """Returns the incident id of each alert, by fingerprint; opens the incidents that do not exist."""
    incident_ids = {each.alert.fingerprint: each.before.incident_id for each in observations if each.before}
    opening: dict[str, list[Observation]] = {}
    for each in observations:
        if each.change in OPENING:
            key = incident_key(group.cluster, each.alert.name, group.group_labels)
            opening.setdefault(key, []).append(each)
    existing = _open_incidents(connection, list(opening))
    new_rows = []
    for key, members in opening.items():
        severities = [each.alert.severity for each in members]
        if key in existing:
            incident_id, severity = existing[key]
            _touch(connection, incident_id, notifications.worst([severity, *severities]), now)
        else:
            incident_id = str(uuid7())
            row = _incident_row(group, members[0].alert.name, notifications.worst(severities), now)
            new_rows.append(row | {"id": incident_id, "key": key})
        incident_ids |= {each.alert.fingerprint: incident_id for each in members}
    if new_rows:
        connection.execute(insert(incident), new_rows)
    return incident_ids


def _open_incidents(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for chunk in _chunks(keys):
        query = select(incident.c.key, incident.c.id, incident.c.severity).where(
            incident.c.key.in_(chunk), incident.c.resolved_at.is_(None)
        )
        found |= {row.key: (row.id, row.severity) for row in connection.execute(query)}
    return found


def _touch(connection: Connection, incident_id: str, severity: str, now: float) -> None:
    values = {"severity": severity, "updated_at": now}
    connection.execute(update(incident).where(incident.c.id == incident_id).values(values))


def _incident_row(group: AlertGroup, alertname: str, severity: str, now: float) -> dict[str, Any]:
    return {
        "cluster": group.cluster,
        "alertname": alertname,
        "severity": severity,
        "group_labels": json.dumps(dict(group.group_labels)),
        "group_key": group.group_key,
        "receiver": group.receiver,
        "state": IncidentState.FIRING.value,
        "opened_at": now,
        "updated_at": now,
    }


def write_episodes(
    connection: Connection,
    cluster: str,
    observations: Sequence[Observation],
    incident_ids: Mapping[str, str],
    now: float,
) -> None:
    """Opens, updates and closes the episodes as the observations say."""
    opened = [each for each in observations if each.change in OPENING]
    _supersede(connection, [(each, each.before) for each in opened if each.before], now)
    if opened:
        rows = [_episode_row(each, cluster, incident_ids[each.alert.fingerprint], now) for each in opened]
        connection.execute(insert(episode), rows)
    for change in (EpisodeChange.CONTINUES, EpisodeChange.RESOLVED, EpisodeChange.STALE):
        _update(connection, [(each, each.before) for each in observations if each.change is change], now)


def _update(connection: Connection, pairs: Sequence[tuple[Observation, Episode | None]], now: float) -> None:
    """Updates episodes with the same change."""
    _write_each(connection, [_update_row(each, before, now) for each, before in pairs if before])


def _supersede(connection: Connection, pairs: Sequence[tuple[Observation, Episode]], now: float) -> None:
    """Makes room for newer episodes; an older one that is still open ends when the newer one starts."""
    for chunk in _chunks([before.id for _, before in pairs]):
        connection.execute(update(episode).where(episode.c.id.in_(chunk)).values(newest=False))
    ended = [
        {"b_id": before.id, "ended_at": each.alert.starts_at, "closed_at": now}
        for each, before in pairs
        if each.change is EpisodeChange.REFIRED
    ]
    _write_each(connection, ended)


def _write_each(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Updates episodes, ``b_id`` of each row, in one statement: all rows have the same columns."""
    if rows:
        connection.execute(
            update(episode)
            .where(episode.c.id == bindparam("b_id"))
            .values({name: bindparam(name) for name in rows[0] if name != "b_id"}),
            list(rows),
        )


def _episode_row(each: Observation, cluster: str, incident_id: str, now: float) -> dict[str, Any]:
    alert = each.alert
    return {
        "id": str(uuid7()),
        "incident_id": incident_id,
        "cluster": cluster,
        "fingerprint": alert.fingerprint,
        "newest": True,
        "labels": json.dumps(dict(alert.labels)),
        "annotations": json.dumps(dict(alert.annotations)),
        "generator_url": alert.generator_url,
        "severity": alert.severity,
        "starts_at": alert.starts_at,
        "opened_at": now,
        "heard_at": now,
        "ended_at": alert.ends_at,
        "closed_at": None if alert.firing else now,
    }


def _update_row(each: Observation, before: Episode, now: float) -> dict[str, Any]:
    received = {"b_id": before.id, "heard_at": now}
    if each.change is EpisodeChange.STALE:
        return received
    content = {
        "annotations": json.dumps(dict(each.alert.annotations)),
        "generator_url": each.alert.generator_url,
        "starts_at": each.since,
    }
    resolved = each.change is EpisodeChange.RESOLVED
    closed = {"ended_at": each.alert.ends_at, "closed_at": now} if resolved else {}
    return received | content | closed


def add_timeline(connection: Connection, entries: Sequence[TimelineRow], now: float) -> None:
    """Adds timeline entries and updates ``updated_at`` of their incidents."""
    if entries:
        rows = [
            {
                "incident_id": each.incident_id,
                "at": now,
                "kind": each.kind.value,
                "fingerprint": each.fingerprint,
                "detail": json.dumps(dict(each.detail)),
            }
            for each in entries
        ]
        connection.execute(insert(entry), rows)
    for chunk in _chunks(list(dict.fromkeys(each.incident_id for each in entries))):
        connection.execute(update(incident).where(incident.c.id.in_(chunk)).values(updated_at=now))


def resolve_incidents(connection: Connection, incident_ids: Collection[str], now: float) -> list[float]:
    """Resolves the incidents without an open episode; returns the duration of each, seconds."""
    durations = []
    for chunk in _chunks(sorted(incident_ids)):
        query = (
            select(episode.c.incident_id, func.min(episode.c.starts_at), func.max(episode.c.ended_at))
            .join(incident, incident.c.id == episode.c.incident_id)
            .where(episode.c.incident_id.in_(chunk), incident.c.resolved_at.is_(None))
            .group_by(episode.c.incident_id)
            .having(func.count() == func.count(episode.c.closed_at))
        )
        ended_incidents = connection.execute(query).all()
        ids = [incident_id for incident_id, _, _ in ended_incidents]
        connection.execute(
            update(incident)
            .where(incident.c.id.in_(ids))
            .values(state=IncidentState.RESOLVED.value, resolved_at=now, updated_at=now)
        )
        closed = [TimelineRow(incident_id, TimelineKind.CLOSED, None, {}) for incident_id in ids]
        add_timeline(connection, closed, now)
        durations += [max(0.0, ended - started) for _, started, ended in ended_incidents]
    return durations


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
