"""Stores notifications: reads what an incident's message lists, and enqueues the messages.

The functions run inside a transaction that has locked the cluster's row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select
from uuid_utils import uuid7

from services.alert_relay.channels import store as channel_store
from services.alert_relay.channels.store import CHANNELS_BOT
from services.alert_relay.channels.target import Target
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents.chunks import chunks
from services.alert_relay.incidents.incident import Incident
from services.alert_relay.incidents.throttles import Throttle
from services.alert_relay.notifications import about_delivery, audience, channel_purposes, sounds
from services.alert_relay.notifications.composition import IncidentView
from services.alert_relay.notifications.notification import (
    Notification,
    NotificationKind,
    NotifiedAlert,
    Purpose,
    to_json,
)
from services.alert_relay.notifications.router import Router, ToAll
from services.alert_relay.schema import episode, incident, notification
from services.contracts.stored import json_of
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, Origin, Submission

EVENT_TYPE, CATEGORY = "alert_notification", "notification"
#: The bot's name in the outbox; it differs from the bridge's, which may use the same database.
BOT = "alerts"
#: Incidents that open within this time may be a storm.
STORM_SECONDS = 60.0
#: Alerts that an incident's message lists at most; a message of Telegram has no room for more.
MOST_LISTED = 40


@dataclass(frozen=True, slots=True)
class Addressed:
    """A notification and the targets that get it."""

    notification: Notification
    targets: tuple[Target, ...]

    @property
    def about(self) -> str:
        """The id of the incident; empty: it is about several, or about none."""
        return self.notification.incident.id if self.notification.incident else ""


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """The targets that get the notifications, and the trace that they belong to.

    Args:
        targets: get the notifications of all incidents that ``router`` does not decide on.
        trace: of the notifications.
        parent: the caller's span.
        reopen_seconds: how long after its resolution an incident is reopened.
        router: decides who is notified of which incident; None: the targets are notified of all.
        without_edits: targets whose messages cannot be edited, though others of their channel can.
        throttles: the times between two notifications with a sound, by names of alerts.
        storm_incidents: incidents that may open within ``STORM_SECONDS``, each with a message of its own.
        acknowledge_seconds: how long an acknowledgement counts; 0: without limit.
    """

    targets: tuple[Target, ...]
    trace: TraceContext
    parent: TraceContext | None = None
    reopen_seconds: float = 300.0
    acknowledge_seconds: float = 0.0
    storm_incidents: int = 0
    without_edits: frozenset[Target] = frozenset()
    router: Router | None = None
    throttles: tuple[Throttle, ...] = ()

    @property
    def route(self) -> Router:
        return self.router or ToAll(self.targets)

    @property
    def chat_ids(self) -> tuple[int, ...]:
        """The chats of Telegram among the targets, each once."""
        return tuple(dict.fromkeys(each.chat[0] for each in self.targets if each.chat is not None))


def views(connection: Connection, incidents: Mapping[str, Incident]) -> dict[str, IncidentView]:
    """Returns incidents with the alerts that their messages list, by id."""
    ids = list(incidents)
    counts, last = incident_store.count(connection, ids), sounds.load(connection, ids)
    rows, alerts = _rows(connection, ids), _alerts(connection, ids)
    return {
        each.id: IncidentView(
            each,
            rows[each.id].alertname,
            rows[each.id].cluster,
            rows[each.id].external_url,
            tuple(alerts.get(each.id, ())),
            counts[each.id].firing,
            storm_id=rows[each.id].storm_id,
            last_sound=last.get(each.id),
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
            found.setdefault(row.incident_id, []).append(_listed(row))
    return found


def _listed(row: Row[Any]) -> NotifiedAlert:
    labels, annotations = json_of(row.labels), json_of(row.annotations)
    labels = labels if isinstance(labels, dict) else {}
    return NotifiedAlert(
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


def alert_of(row: Row[Any]) -> NotifiedAlert:
    """Returns the alert of an open episode as news: new to people, or as it still fires."""
    known = row.notified_at is not None
    listed = _listed(row)
    return replace(listed, kind=NotificationKind.REPEATED if known else listed.kind, is_new=not known)


def enqueue_all(
    connection: Connection, composed: Sequence[Addressed], target: NotificationTarget, now: float
) -> list[Submission]:
    """Enqueues notifications in the outbox, the most urgent first, and links them to their incidents.

    A notification goes to each of its targets whose channel takes it; one that none takes is left out.
    """
    numbers = _numbers(connection, composed)
    submissions, rows = [], []
    for each in sorted(composed, key=lambda one: one.notification.urgency.order):
        content = each.notification
        reached = [
            one
            for one in each.targets
            if channel_purposes.takes(one.channel, content, edits=one not in target.without_edits)
        ]
        if not reached:
            continue
        recipients = [_recipient(one, numbers) for one in reached]
        submissions.append(_submission(content, recipients, target, now))
        event_id = submissions[-1].events[0].id
        rows += _rows_of(content, event_id, reached, now)
        _record_first(connection, content, reached, event_id)
    if submissions:
        enqueue.insert(connection, submissions, now)
    if rows:
        connection.execute(insert(notification), rows)
    return submissions


def _record_first(
    connection: Connection, content: Notification, reached: Sequence[Target], event_id: str
) -> None:
    """Stores which message shows an incident to whom, so that changes edit it and news answer it."""
    if content.storm is not None:
        audience.record_storm(connection, content.storm.changed, reached, content.storm.id)
    elif content.incident is not None and content.purpose is Purpose.OPENED:
        audience.record_first(connection, content.incident.id, reached, event_id)


@dataclass(frozen=True, slots=True)
class _Recipient:
    """A target by its names in the outbox."""

    bot: str
    chat_id: int
    thread_id: int | None = None


def _numbers(connection: Connection, composed: Sequence[Addressed]) -> Mapping[Target, int]:
    targets = {one: None for each in composed for one in each.targets if one.chat is None}
    return channel_store.ids(connection, list(targets))


def _recipient(target: Target, numbers: Mapping[Target, int]) -> _Recipient:
    if target.chat is not None:
        return _Recipient(BOT, *target.chat)
    return _Recipient(CHANNELS_BOT, numbers[target])


def _rows_of(
    composed: Notification, event_id: str, reached: Sequence[Target], now: float
) -> list[dict[str, Any]]:
    """Returns the rows that link a notification to the incidents that it is about."""
    return [
        {
            "id": event_id,
            "incident_id": incident_id,
            "channel": ",".join(dict.fromkeys(each.channel.value for each in reached)),
            "kinds": ",".join(kind.value for kind in composed.kinds) or composed.purpose.value,
            "purpose": composed.purpose.value,
            "at": now,
        }
        for incident_id in _about(composed)
    ]


def _about(composed: Notification) -> tuple[str, ...]:
    """Returns the ids of the incidents that a notification is about."""
    if composed.storm is not None:
        return composed.storm.changed
    return () if composed.incident is None else (composed.incident.id,)


def _submission(
    composed: Notification, reached: Sequence[_Recipient], target: NotificationTarget, now: float
) -> Submission:
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
            each.chat_id,
            thread_id=each.thread_id,
            lane=urgency.lane,
            silent=urgency.silent or composed.purpose is Purpose.CHANGED,
            bot=each.bot,
            update_key=update_key,
            expires_at=about_delivery.expires_at(composed, now),
        )
        for each in reached
    )
    return Submission((event,), (messages,))
