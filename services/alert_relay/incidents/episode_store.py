"""The SQL of episodes.

Each function runs inside a transaction that has locked the cluster's row, so that the webhooks of one
cluster are processed one after the other.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, case, insert, select, update
from uuid_utils import uuid7

from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.episodes import (
    OPENING,
    Alert,
    End,
    Episode,
    EpisodeChange,
    Observation,
)
from services.alert_relay.schema import episode, incident


def newest_episodes(connection: Connection, cluster: str, fingerprints: Sequence[str]) -> dict[str, Episode]:
    """Returns the newest stored episode of each alert, by fingerprint."""
    found = {}
    for chunk in chunks(fingerprints):
        query = select(episode).where(
            episode.c.cluster == cluster, episode.c.fingerprint.in_(chunk), episode.c.newest
        )
        for row in connection.execute(query):
            found[row.fingerprint] = _episode(row)
    return found


def open_episodes(connection: Connection, cluster: str) -> dict[str, Episode]:
    """Returns the open episodes of Alertmanager's alerts, by fingerprint; not of the relay's own alerts."""
    query = (
        select(episode)
        .join(incident, incident.c.id == episode.c.incident_id)
        .where(episode.c.cluster == cluster, episode.c.newest, episode.c.closed_at.is_(None))
        .where(incident.c.receiver != "")
    )
    return {row.fingerprint: _episode(row) for row in connection.execute(query)}


def _episode(row: Row[Any]) -> Episode:
    return Episode(
        row.id,
        row.incident_id,
        row.fingerprint,
        row.starts_at,
        row.heard_at,
        row.ended_at,
        row.ended_by,
        row.notified_at,
        row.suspect_at,
        row.suppressed,
    )


def alerts_of(connection: Connection, episodes: Sequence[Episode]) -> dict[str, Alert]:
    """Returns the alerts of episodes as last received, by fingerprint; they have no end."""
    found = {}
    for chunk in chunks([each.id for each in episodes]):
        for row in connection.execute(select(episode).where(episode.c.id.in_(chunk))):
            found[row.fingerprint] = Alert(
                row.fingerprint,
                firing=True,
                labels=json.loads(row.labels),
                annotations=json.loads(row.annotations),
                starts_at=row.starts_at,
                ends_at=None,
                generator_url=row.generator_url,
            )
    return found


def mark_suspect(connection: Connection, episodes: Sequence[Episode], now: float) -> None:
    """Records that Alertmanager's API does not have the alerts of these episodes."""
    _write_each(connection, [{"b_id": each.id, "suspect_at": now} for each in episodes])


def mark_present(connection: Connection, episodes: Sequence[Episode]) -> None:
    """Records that Alertmanager's API has the alerts of these episodes, suppressed or not."""
    rows = [{"b_id": each.id, "suspect_at": None, "suppressed": each.suppressed} for each in episodes]
    _write_each(connection, rows)


def end_by_hand(connection: Connection, incident_id: str, now: float) -> None:
    """Ends the open episodes of an incident that a person resolves."""
    still = (episode.c.incident_id == incident_id) & episode.c.closed_at.is_(None)
    # A start may lie in the future: the clocks of the machines differ.
    ended_at = case((episode.c.starts_at > now, episode.c.starts_at), else_=now)
    over = {"ended_at": ended_at, "closed_at": now, "ended_by": End.BY_HAND.value}
    connection.execute(update(episode).where(still).values(over))


def write_episodes(
    connection: Connection,
    cluster: str,
    observations: Sequence[Observation],
    incident_ids: Mapping[str, str],
    *,
    notified: Collection[str],
    now: float,
) -> None:
    """Opens, updates and closes the episodes as the observations say.

    Args:
        connection: in a transaction that has locked the cluster's row.
        cluster: its name.
        observations: of alerts, each once.
        incident_ids: by fingerprint.
        notified: fingerprints of the alerts that people are notified of.
        now: seconds since the epoch.
    """
    opened = [each for each in observations if each.change in OPENING]
    _supersede(connection, [(each, each.before) for each in opened if each.before], now)
    if opened:
        rows = [
            _episode_row(each, cluster, incident_ids[each.alert.fingerprint], now)
            | {"notified_at": _notified_at(each, notified, now)}
            for each in opened
        ]
        connection.execute(insert(episode), rows)
    for change in (EpisodeChange.CONTINUES, EpisodeChange.RESOLVED, EpisodeChange.STALE):
        rows = [
            _update_row(each, each.before, notified, now)
            for each in observations
            if each.change is change and each.before is not None
        ]
        _write_each(connection, rows)


def _notified_at(each: Observation, notified: Collection[str], now: float) -> float | None:
    """Returns when people were last notified that the alert fires."""
    if each.alert.fingerprint in notified:
        return now
    carried_over = each.before is not None and (each.known or each.change is EpisodeChange.CONTINUES)
    return each.before.notified_at if each.before is not None and carried_over else None


def _supersede(connection: Connection, pairs: Sequence[tuple[Observation, Episode]], now: float) -> None:
    """Makes room for newer episodes; an older one that is still open ends when the newer one starts."""
    for chunk in chunks([before.id for _, before in pairs]):
        connection.execute(update(episode).where(episode.c.id.in_(chunk)).values(newest=False))
    ended = [
        {
            "b_id": before.id,
            "ended_at": each.alert.starts_at,
            "closed_at": now,
            "ended_by": End.SUPERSEDED.value,
        }
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
        "ended_by": None if alert.firing else each.ended_by.value,
        "suppressed": each.suppressed,
    }


def _update_row(each: Observation, before: Episode, notified: Collection[str], now: float) -> dict[str, Any]:
    received = {"b_id": before.id, "heard_at": now}
    if each.change is EpisodeChange.STALE:
        return received
    content = {
        "annotations": json.dumps(dict(each.alert.annotations)),
        "generator_url": each.alert.generator_url,
        "starts_at": each.since,
    }
    if each.change is EpisodeChange.CONTINUES:
        firing = {"suspect_at": None, "suppressed": False}
        return received | content | firing | {"notified_at": _notified_at(each, notified, now)}
    closed = {"ended_at": each.alert.ends_at, "closed_at": now, "ended_by": each.ended_by.value}
    return received | content | closed
