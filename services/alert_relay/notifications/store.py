"""Stores notifications: reads what an incident's message lists, and enqueues the messages.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select
from uuid_utils import uuid7

from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.notifications import about_delivery
from services.alert_relay.notifications.composition import IncidentView
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    Purpose,
    to_json,
)
from services.alert_relay.schema import episode, incident, notification
from services.contracts.stored import json_of
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, Origin, Submission

CHANNEL = "telegram"
EVENT_TYPE, CATEGORY = "alert_notification", "notification"
#: The bot's name in the outbox; it differs from the bridge's, which may use the same database.
BOT = "alerts"
#: Incidents that open within this time may be a storm.
STORM_SECONDS = 60.0
#: Alerts that an incident's message lists at most; a message of Telegram has no room for more.
MOST_LISTED = 40


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """The chats that get the notifications, and the trace that they belong to.

    Args:
        chat_ids: of the chats.
        trace: of the notifications.
        parent: the caller's span.
        reopen_seconds: how long after its resolution an incident is reopened.
        storm_incidents: incidents that may open within ``STORM_SECONDS``, each with a message of its own.
        acknowledge_seconds: how long an acknowledgement counts; 0: without limit.
    """

    chat_ids: tuple[int, ...]
    trace: TraceContext
    parent: TraceContext | None = None
    reopen_seconds: float = 300.0
    acknowledge_seconds: float = 0.0
    storm_incidents: int = 0


def views(connection: Connection, incidents: Mapping[str, Incident]) -> dict[str, IncidentView]:
    """Returns incidents with the alerts that their messages list, by id."""
    ids = list(incidents)
    counts = incident_store.count(connection, ids)
    rows, alerts, first_events = _rows(connection, ids), _alerts(connection, ids), _first(connection, ids)
    return {
        each.id: IncidentView(
            each,
            rows[each.id].alertname,
            rows[each.id].cluster,
            rows[each.id].external_url,
            tuple(alerts.get(each.id, ())),
            counts[each.id].firing,
            first_events.get(each.id),
            rows[each.id].storm_id,
        )
        for each in incidents.values()
    }


def _rows(connection: Connection, ids: Sequence[str]) -> dict[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    for chunk in chunks(ids):
        columns = (incident.c.id, incident.c.alertname, incident.c.cluster, incident.c.external_url)
        query = select(*columns, incident.c.storm_id).where(incident.c.id.in_(chunk))
        found |= {row.id: row for row in connection.execute(query)}
    return found


def _first(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Returns the event of the first message of each incident; the ids of events grow with time."""
    found: dict[str, str] = {}
    for chunk in chunks(ids):
        query = select(notification.c.incident_id, func.min(notification.c.id).label("first"))
        own = notification.c.kinds != Purpose.STORM.value
        of_chunk = query.where(notification.c.incident_id.in_(chunk), own).group_by(
            notification.c.incident_id
        )
        found |= {row.incident_id: row.first for row in connection.execute(of_chunk)}
    return found


def _alerts(connection: Connection, ids: Sequence[str]) -> dict[str, list[NotifiedAlert]]:
    """Returns the newest episode of each alert of incidents: firing ones first, then the last that ended."""
    found: dict[str, list[NotifiedAlert]] = {}
    over = case((episode.c.closed_at.is_(None), 0), else_=1)
    order = (over, episode.c.closed_at.desc(), episode.c.id)
    number = func.row_number().over(partition_by=episode.c.incident_id, order_by=order).label("number")
    for chunk in chunks(ids):
        ranked = select(episode, number).where(episode.c.incident_id.in_(chunk), episode.c.newest).subquery()
        listed = select(ranked).where(ranked.c.number <= MOST_LISTED).order_by(ranked.c.number)
        for row in connection.execute(listed):
            labels, annotations = json_of(row.labels), json_of(row.annotations)
            labels = labels if isinstance(labels, dict) else {}
            alert = NotifiedAlert(
                NotificationKind.FIRING if row.closed_at is None else NotificationKind.RESOLVED,
                row.fingerprint,
                labels.get("alertname", ""),
                row.severity,
                labels,
                annotations if isinstance(annotations, dict) else {},
                row.generator_url,
                row.starts_at,
                row.ended_at,
            )
            found.setdefault(row.incident_id, []).append(alert)
    return found


def enqueue_all(
    connection: Connection, composed: Sequence[Notification], target: NotificationTarget, now: float
) -> list[Submission]:
    """Enqueues notifications in the outbox, the most urgent first, and links them to their incidents."""
    ordered = sorted(composed, key=lambda each: each.urgency.order)
    submissions = [_submission(each, target, now) for each in ordered]
    enqueue.insert(connection, submissions, now)
    rows = [
        {
            "id": submission.events[0].id,
            "incident_id": incident_id,
            "channel": CHANNEL,
            "kinds": ",".join(kind.value for kind in each.kinds) or each.purpose.value,
            "at": now,
        }
        for each, submission in zip(ordered, submissions, strict=True)
        for incident_id in _about(each)
    ]
    if rows:
        connection.execute(insert(notification), rows)
    return submissions


def _about(composed: Notification) -> tuple[str, ...]:
    """Returns the ids of the incidents that a notification is about."""
    if composed.storm is not None:
        return composed.storm.changed
    return () if composed.incident is None else (composed.incident.id,)


def _submission(composed: Notification, target: NotificationTarget, now: float) -> Submission:
    event_id = str(uuid7())
    about = composed.incident
    event = EventRecord(
        id=event_id,
        type=EVENT_TYPE,
        category=CATEGORY,
        title=composed.title,
        source="alertmanager",
        # The label is free text; the column holds 16 characters.
        severity=composed.severity[:16],
        body=to_json(composed),
        accepted_at=now,
        trace=target.trace,
        parent=target.parent,
        correlation_id=event_id if about is None else about.id,
        client="alertmanager",
        origin=Origin.ALERT,
    )
    urgency = composed.urgency
    update_key = composed.storm.id if composed.storm is not None else None
    if about is not None and composed.purpose in (Purpose.OPENED, Purpose.CHANGED):
        update_key = about.id
    messages = tuple(
        MessageRecord(
            str(uuid7()),
            chat_id,
            lane=urgency.lane,
            silent=urgency.silent or composed.purpose is Purpose.CHANGED,
            bot=BOT,
            update_key=update_key,
            expires_at=about_delivery.expires_at(composed, now),
        )
        for chat_id in target.chat_ids
    )
    return Submission((event,), (messages,))
