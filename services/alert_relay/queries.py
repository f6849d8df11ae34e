"""Incidents as people read them: queries, no writes."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from services.alert_relay.incidents import State
from services.alert_relay.schema import alertmanager, entry, episode, incident, notification
from services.outbox.schema import message

Row = Mapping[str, Any]


def page(connection: Connection, state: State | None, before: str | None, limit: int) -> list[Row]:
    """Incidents, newest first, each with how many of its episodes are open.

    Args:
        connection: to read from.
        state: only those in it.
        before: the last id of the page before this one.
        limit: how many at most.
    """
    query = select(incident, *_counts()).order_by(incident.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(incident.c.state == state.value)
    if before is not None:
        query = query.where(incident.c.id < before)
    return [_incident(row) for row in connection.execute(query).mappings()]


def _counts() -> list[Any]:
    mine = episode.c.incident_id == incident.c.id
    return [
        select(func.count()).where(mine).scalar_subquery().label("episodes"),
        select(func.count()).where(mine, episode.c.closed_at.is_(None)).scalar_subquery().label("firing"),
    ]


def _incident(row: RowMapping | Row) -> Row:
    return {**row, "group_labels": json.loads(row["group_labels"])}


def one(connection: Connection, incident_id: str) -> Row | None:
    """An incident with its episodes, its timeline's entries, and what was told of it."""
    query = select(incident, *_counts()).where(incident.c.id == incident_id)
    found = connection.execute(query).mappings().first()
    if found is None:
        return None
    return {
        **_incident(found),
        "members": _episodes(connection, incident_id),
        "entries": _entries(connection, incident_id),
        "told": _told(connection, incident_id),
    }


def _episodes(connection: Connection, incident_id: str) -> list[Row]:
    query = select(episode).where(episode.c.incident_id == incident_id).order_by(episode.c.id)
    return [
        {**row, "labels": json.loads(row["labels"]), "annotations": json.loads(row["annotations"])}
        for row in connection.execute(query).mappings()
    ]


def _entries(connection: Connection, incident_id: str) -> list[Row]:
    query = select(entry).where(entry.c.incident_id == incident_id).order_by(entry.c.id)
    return [{**row, "detail": json.loads(row["detail"])} for row in connection.execute(query).mappings()]


def _told(connection: Connection, incident_id: str) -> list[Row]:
    query = select(notification).where(notification.c.incident_id == incident_id).order_by(notification.c.id)
    sent = _messages(connection, incident_id)
    return [
        {**row, "kinds": row["kinds"].split(","), "messages": sent[row["id"]]}
        for row in connection.execute(query).mappings()
    ]


def _messages(connection: Connection, incident_id: str) -> dict[str, list[Row]]:
    query = (
        select(message)
        .join(notification, notification.c.id == message.c.event_id)
        .where(notification.c.incident_id == incident_id)
        .order_by(message.c.seq)
    )
    by_event: dict[str, list[Row]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        ids = row["telegram_message_ids"]
        by_event[row["event_id"]].append(
            {**row, "telegram_message_ids": [int(i) for i in ids.split(",")] if ids else []}
        )
    return by_event


def counts(connection: Connection) -> dict[State, int]:
    """How many incidents there are in each state."""
    query = select(incident.c.state, func.count()).group_by(incident.c.state)
    found = {row[0]: row[1] for row in connection.execute(query)}
    return {state: found.get(state.value, 0) for state in State}


def last_beats(connection: Connection) -> dict[str, float]:
    """When the alert that always fires came last, from each cluster that it ever came from."""
    query = select(alertmanager.c.cluster, alertmanager.c.watchdog_at)
    came = query.where(alertmanager.c.watchdog_at.is_not(None))
    return {row.cluster: row.watchdog_at for row in connection.execute(came)}
