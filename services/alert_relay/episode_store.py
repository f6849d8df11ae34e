"""Episodes and incidents in the database: what is known of an alert, and what becomes of it.

The functions run inside a transaction that holds the cluster's row, so that no two webhooks of a
cluster read and write at once.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update
from uuid_utils import uuid7

from services.alert_relay import incidents, notifications
from services.alert_relay.episodes import Alert, Change, Episode, Heard, Observed
from services.alert_relay.incidents import Mark, State
from services.alert_relay.schema import entry, episode, incident

#: Both databases bound the parameters of a statement, at about 32,000.
CHUNK = 1_000

_OPENS = (Change.FIRED, Change.MISSED)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of an incident's timeline."""

    incident: str
    mark: Mark
    fingerprint: str | None
    detail: Mapping[str, Any]


def newest(connection: Connection, cluster: str, fingerprints: Sequence[str]) -> dict[str, Episode]:
    """The newest episode of each alert that was ever heard of."""
    known = {}
    for some in _chunks(fingerprints):
        query = select(episode).where(
            episode.c.cluster == cluster, episode.c.fingerprint.in_(some), episode.c.newest
        )
        for row in connection.execute(query):
            known[row.fingerprint] = Episode(
                row.id, row.incident_id, row.fingerprint, row.starts_at, row.heard_at, row.ended_at
            )
    return known


def open_in(
    connection: Connection, cluster: str, group_labels: Mapping[str, str]
) -> list[tuple[Episode, Alert]]:
    """The open episodes of a group, each with its alert as it was last heard of."""
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


def place(connection: Connection, heard: Heard, observed: Sequence[Observed], now: float) -> dict[str, str]:
    """The incident of each observed alert, by fingerprint; opens those that are not there yet."""
    homes = {each.alert.fingerprint: each.before.incident_id for each in observed if each.before}
    opening: dict[str, list[Observed]] = {}
    for each in observed:
        if each.change in _OPENS:
            key = incidents.key(heard.cluster, each.alert.name, heard.group_labels)
            opening.setdefault(key, []).append(each)
    existing = _open_incidents(connection, list(opening))
    fresh = []
    for key, members in opening.items():
        severities = [each.alert.severity for each in members]
        if key in existing:
            home, severity = existing[key]
            _touch(connection, home, notifications.worst([severity, *severities]), now)
        else:
            home = str(uuid7())
            new = _incident_row(heard, members[0].alert.name, notifications.worst(severities), now)
            fresh.append(new | {"id": home, "key": key})
        homes |= {each.alert.fingerprint: home for each in members}
    if fresh:
        connection.execute(insert(incident), fresh)
    return homes


def _open_incidents(connection: Connection, keys: Sequence[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for some in _chunks(keys):
        query = select(incident.c.key, incident.c.id, incident.c.severity).where(
            incident.c.key.in_(some), incident.c.resolved_at.is_(None)
        )
        found |= {row.key: (row.id, row.severity) for row in connection.execute(query)}
    return found


def _touch(connection: Connection, home: str, severity: str, now: float) -> None:
    values = {"severity": severity, "updated_at": now}
    connection.execute(update(incident).where(incident.c.id == home).values(values))


def _incident_row(heard: Heard, alertname: str, severity: str, now: float) -> dict[str, Any]:
    return {
        "cluster": heard.cluster,
        "alertname": alertname,
        "severity": severity,
        "group_labels": json.dumps(dict(heard.group_labels)),
        "group_key": heard.group_key,
        "receiver": heard.receiver,
        "state": State.FIRING.value,
        "opened_at": now,
        "updated_at": now,
    }


def write(
    connection: Connection,
    cluster: str,
    observed: Sequence[Observed],
    homes: Mapping[str, str],
    now: float,
) -> None:
    """Opens, updates and closes the episodes, each as it was observed."""
    opened = [each for each in observed if each.change in _OPENS]
    _supersede(connection, [each.before.id for each in opened if each.before])
    if opened:
        rows = [_episode_row(each, cluster, homes[each.alert.fingerprint], now) for each in opened]
        connection.execute(insert(episode), rows)
    for change in (Change.CONTINUES, Change.RESOLVED, Change.STALE):
        _update(connection, [(each, each.before) for each in observed if each.change is change], now)


def _update(connection: Connection, pairs: Sequence[tuple[Observed, Episode | None]], now: float) -> None:
    """Updates episodes that changed in the same way: all rows have the same columns."""
    rows = [_update_row(each, before, now) for each, before in pairs if before]
    if rows:
        connection.execute(
            update(episode)
            .where(episode.c.id == bindparam("b_id"))
            .values({name: bindparam(name) for name in rows[0] if name != "b_id"}),
            rows,
        )


def _supersede(connection: Connection, ids: Sequence[str]) -> None:
    for some in _chunks(ids):
        connection.execute(update(episode).where(episode.c.id.in_(some)).values(newest=False))


def _episode_row(each: Observed, cluster: str, home: str, now: float) -> dict[str, Any]:
    alert = each.alert
    return {
        "id": str(uuid7()),
        "incident_id": home,
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


def _update_row(each: Observed, before: Episode, now: float) -> dict[str, Any]:
    heard = {"b_id": before.id, "heard_at": now}
    if each.change is Change.STALE:
        return heard
    said = {
        "annotations": json.dumps(dict(each.alert.annotations)),
        "generator_url": each.alert.generator_url,
        "starts_at": each.since,
    }
    closed = {"ended_at": each.alert.ends_at, "closed_at": now} if each.change is Change.RESOLVED else {}
    return heard | said | closed


def note(connection: Connection, entries: Sequence[Entry], now: float) -> None:
    """Writes lines of timelines; their incidents are news again."""
    if entries:
        rows = [
            {
                "incident_id": each.incident,
                "at": now,
                "kind": each.mark.value,
                "fingerprint": each.fingerprint,
                "detail": json.dumps(dict(each.detail)),
            }
            for each in entries
        ]
        connection.execute(insert(entry), rows)
    for some in _chunks(list(dict.fromkeys(each.incident for each in entries))):
        connection.execute(update(incident).where(incident.c.id.in_(some)).values(updated_at=now))


def close(connection: Connection, touched: Collection[str], now: float) -> list[float]:
    """Resolves those of the incidents that have no open episode left; answers how long each lasted."""
    lasted = []
    for some in _chunks(sorted(touched)):
        query = (
            select(episode.c.incident_id, func.min(episode.c.starts_at), func.max(episode.c.ended_at))
            .join(incident, incident.c.id == episode.c.incident_id)
            .where(episode.c.incident_id.in_(some), incident.c.resolved_at.is_(None))
            .group_by(episode.c.incident_id)
            .having(func.count() == func.count(episode.c.closed_at))
        )
        over = connection.execute(query).all()
        ids = [home for home, _, _ in over]
        connection.execute(
            update(incident)
            .where(incident.c.id.in_(ids))
            .values(state=State.RESOLVED.value, resolved_at=now, updated_at=now)
        )
        note(connection, [Entry(home, Mark.CLOSED, None, {}) for home in ids], now)
        lasted += [max(0.0, ended - started) for _, started, ended in over]
    return lasted


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), CHUNK):
        yield values[start : start + CHUNK]
