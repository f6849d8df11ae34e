"""Reads incidents and their notifications from the database."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, func, select

from services.alert_relay.incidents.incident import IncidentState
from services.alert_relay.incidents.timers import TimerKind
from services.alert_relay.schema import entry, episode, incident, notification, timer
from services.contracts.stored import json_of
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import message

#: A database row whose JSON columns are parsed; times are seconds since the epoch.
IncidentRow = Mapping[str, Any]


def page(
    connection: Connection, state: IncidentState | None, before: str | None, limit: int
) -> list[IncidentRow]:
    """Returns incidents, newest first, each with the number of its episodes and of the open ones.

    Args:
        connection: to read from.
        state: only incidents in this state.
        before: the last id of the previous page.
        limit: the most rows to return.
    """
    query = select(incident, *_counts()).order_by(incident.c.id.desc()).limit(limit)
    if state is not None:
        query = query.where(incident.c.state == state.value)
    if before is not None:
        query = query.where(incident.c.id < before)
    return [_incident(row) for row in connection.execute(query).mappings()]


def _counts() -> list[Any]:
    of_incident = episode.c.incident_id == incident.c.id
    escalates = (timer.c.incident_id == incident.c.id) & (timer.c.kind == TimerKind.ESCALATE.value)
    return [
        select(timer.c.due_at).where(escalates).scalar_subquery().label("escalates_at"),
        select(func.count()).where(of_incident).scalar_subquery().label("episodes"),
        select(func.count())
        .where(of_incident, episode.c.closed_at.is_(None))
        .scalar_subquery()
        .label("firing"),
    ]


def _incident(row: RowMapping | IncidentRow) -> IncidentRow:
    return {**row, "group_labels": _object(row["group_labels"])}


def _object(text: str) -> dict[str, Any]:
    """JSON of a column; empty where it is no object, so that an odd row fails no list."""
    found = json_of(text)
    return found if isinstance(found, dict) else {}


def one(connection: Connection, incident_id: str) -> IncidentRow | None:
    """Returns an incident with its ``members`` (episodes), ``entries`` (timeline) and ``notifications``."""
    query = select(incident, *_counts()).where(incident.c.id == incident_id)
    found = connection.execute(query).mappings().first()
    if found is None:
        return None
    return {
        **_incident(found),
        "members": _episodes(connection, incident_id),
        "entries": _entries(connection, incident_id),
        "notifications": _notifications(connection, incident_id),
    }


def _episodes(connection: Connection, incident_id: str) -> list[IncidentRow]:
    query = select(episode).where(episode.c.incident_id == incident_id).order_by(episode.c.id)
    return [
        {**row, "labels": _object(row["labels"]), "annotations": _object(row["annotations"])}
        for row in connection.execute(query).mappings()
    ]


def _entries(connection: Connection, incident_id: str) -> list[IncidentRow]:
    query = select(entry).where(entry.c.incident_id == incident_id).order_by(entry.c.id)
    return [{**row, "detail": _object(row["detail"])} for row in connection.execute(query).mappings()]


def _notifications(connection: Connection, incident_id: str) -> list[IncidentRow]:
    query = select(notification).where(notification.c.incident_id == incident_id).order_by(notification.c.id)
    messages = _messages(connection, incident_id)
    return [
        {**row, "kinds": str(row["kinds"]).split(","), "messages": messages[row["id"]]}
        for row in connection.execute(query).mappings()
    ]


def _messages(connection: Connection, incident_id: str) -> dict[str, list[IncidentRow]]:
    query = (
        select(message)
        .join(notification, notification.c.id == message.c.event_id)
        .where(notification.c.incident_id == incident_id)
        .order_by(message.c.seq)
    )
    by_event: dict[str, list[IncidentRow]] = defaultdict(list)
    for row in connection.execute(query).mappings():
        ids = telegram_ids(row["telegram_message_ids"])
        by_event[row["event_id"]].append({**row, "telegram_message_ids": ids})
    return by_event


def counts(connection: Connection) -> dict[IncidentState, int]:
    """Returns the number of incidents in each state."""
    query = select(incident.c.state, func.count()).group_by(incident.c.state)
    found = {row[0]: row[1] for row in connection.execute(query)}
    return {state: found.get(state.value, 0) for state in IncidentState}


def firing(connection: Connection, names: Sequence[str]) -> list[tuple[str, str, str]]:
    """Returns the firing alerts of these names, each as cluster, name and fingerprint."""
    query = (
        select(episode.c.cluster, incident.c.alertname, episode.c.fingerprint)
        .join(incident, incident.c.id == episode.c.incident_id)
        .where(incident.c.alertname.in_(names), episode.c.newest, episode.c.closed_at.is_(None))
    )
    return [(row.cluster, row.alertname, row.fingerprint) for row in connection.execute(query)]
