"""Stores a webhook in one transaction: the raw payload, its episodes, incidents and messages, or nothing.

The functions run inside a transaction that the caller opens.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, update
from uuid_utils import uuid7

from services.alert_relay import episode_store, episodes, notifications
from services.alert_relay.episode_store import TimelineRow
from services.alert_relay.episodes import AlertGroup, EpisodeChange, Observation, TimelineKind
from services.alert_relay.notifications import Notification
from services.alert_relay.schema import alertmanager, notification, webhook
from services.kit.database.connect import upsert
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, Origin, Submission

#: The alert that always fires, a heartbeat of Prometheus and Alertmanager; it causes no notification.
WATCHDOG = "Watchdog"
CHANNEL = "telegram"
EVENT_TYPE, CATEGORY = "alert_notification", "notification"
#: The bot's name in the outbox; it differs from the bridge's, which may use the same database.
BOT = "alerts"

_OWN_CHANGES = (EpisodeChange.FIRED, EpisodeChange.REFIRED, EpisodeChange.RESOLVED)


@dataclass(frozen=True, slots=True)
class NotificationTarget:
    """The chats that get the notifications, and the trace that they belong to."""

    chat_ids: tuple[int, ...]
    trace: TraceContext
    parent: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What a transaction stored.

    Args:
        submissions: the messages that it enqueued.
        watchdog: whether the webhook listed a firing Watchdog alert.
        durations: of each incident that it resolved, seconds from the first start to the last end.
    """

    submissions: tuple[Submission, ...]
    watchdog: bool
    durations: tuple[float, ...]


def receive(
    connection: Connection, group: AlertGroup, body: str, target: NotificationTarget, now: float
) -> StoreResult:
    """Stores a webhook, and applies it to episodes and incidents.

    A redelivered webhook changes only the times at which it and its alerts were last received.
    """
    watchdog = any(alert.name == WATCHDOG and alert.firing for alert in group.alerts)
    _touch_cluster(connection, group.cluster, now, watchdog=watchdog)
    if not _save_webhook(connection, group, body, now):
        # People know what could not be read in a webhook that was received before.
        group = replace(group, unreadable=())
    observations = _observe_all(connection, group)
    notify = notifications.to_notify(observations, now)
    result = apply(connection, group, observations, notify, target=target, now=now)
    return replace(result, watchdog=watchdog)


def report(connection: Connection, group: AlertGroup, target: NotificationTarget, now: float) -> StoreResult:
    """Applies an alert that the relay raises or resolves itself; repeats cause no notification.

    A resolved alert that never fired changes nothing.
    """
    lock_cluster(connection, group.cluster)
    observations = [each for each in _observe_all(connection, group) if each.change in _OWN_CHANGES]
    return apply(connection, group, observations, observations, target=target, now=now)


def _observe_all(connection: Connection, group: AlertGroup) -> list[Observation]:
    listed = {alert.fingerprint: alert for alert in group.alerts if alert.name != WATCHDOG}
    known = episode_store.newest_episodes(connection, group.cluster, list(listed))
    return [episodes.observe(alert, known.get(alert.fingerprint)) for alert in listed.values()]


def apply(
    connection: Connection,
    group: AlertGroup,
    observations: Sequence[Observation],
    notify: Sequence[Observation],
    *,
    target: NotificationTarget,
    now: float,
    fetched: bool = False,
) -> StoreResult:
    """Writes the observations, and enqueues the notifications.

    Args:
        connection: in a transaction that has locked the cluster's row.
        group: the group that the alerts belong to.
        observations: every alert of the group.
        notify: the ones that people are notified of.
        target: who gets the notifications.
        now: seconds since the epoch.
        fetched: whether the relay fetched the alerts from Alertmanager.
    """
    incident_ids = episode_store.assign_incidents(connection, group, observations, now)
    episode_store.write_episodes(connection, group.cluster, observations, incident_ids, now)
    episode_store.add_timeline(connection, _timeline(group, notify, incident_ids, fetched=fetched), now)
    touched = {incident_ids[each.alert.fingerprint] for each in observations}
    # A new episode may belong to another incident than the one that it ends: the group's labels changed.
    touched |= {each.before.incident_id for each in observations if each.before}
    durations = episode_store.resolve_incidents(connection, touched, now)
    composed = notifications.compose(group, observations, notify, fetched=fetched)
    submissions = [_enqueue(connection, each, incident_ids, target, now) for each in composed]
    return StoreResult(tuple(submissions), watchdog=False, durations=tuple(durations))


def _touch_cluster(connection: Connection, cluster: str, now: float, *, watchdog: bool) -> None:
    """Updates when the cluster was last received, which also locks its row."""
    row = {
        "cluster": cluster,
        "first_heard_at": now,
        "heard_at": now,
        "watchdog_at": now if watchdog else None,
    }
    statement = upsert(connection, alertmanager).values(row)
    changes = {"heard_at": now} | ({"watchdog_at": now} if watchdog else {})
    connection.execute(statement.on_conflict_do_update(index_elements=[alertmanager.c.cluster], set_=changes))


def lock_cluster(connection: Connection, cluster: str) -> None:
    """Locks the cluster's row until the transaction ends; its values stay."""
    same = alertmanager.c.cluster == cluster
    connection.execute(update(alertmanager).where(same).values(heard_at=alertmanager.c.heard_at))


def _save_webhook(connection: Connection, group: AlertGroup, body: str, now: float) -> bool:
    """Stores the raw webhook; returns whether the same one was not received before."""
    digest = hashlib.sha256(f"{group.cluster}\n{body}".encode()).hexdigest()
    statement = upsert(connection, webhook).values(
        digest=digest,
        cluster=group.cluster,
        group_key=group.group_key,
        receiver=group.receiver,
        status=group.status,
        reason=group.reason,
        truncated=group.truncated,
        body=body,
        received_at=now,
        last_received_at=now,
        deliveries=1,
    )
    stored = connection.execute(
        statement.on_conflict_do_update(
            index_elements=[webhook.c.digest],
            set_={"last_received_at": now, "deliveries": webhook.c.deliveries + 1, "asked_at": None},
        ).returning(webhook.c.deliveries)
    )
    return int(stored.scalar_one()) == 1


_TIMELINE = {
    EpisodeChange.FIRED: (TimelineKind.FIRING,),
    EpisodeChange.REFIRED: (TimelineKind.SUPERSEDED, TimelineKind.FIRING),
    EpisodeChange.RESOLVED: (TimelineKind.RESOLVED,),
    EpisodeChange.MISSED: (TimelineKind.FIRING, TimelineKind.RESOLVED),
    EpisodeChange.CONTINUES: (TimelineKind.REPEATED,),
}


def _timeline(
    group: AlertGroup, notify: Sequence[Observation], incident_ids: Mapping[str, str], *, fetched: bool
) -> list[TimelineRow]:
    entries = [
        TimelineRow(incident_ids[each.alert.fingerprint], kind, each.alert.fingerprint, _times(each))
        for each in notify
        for kind in _TIMELINE[each.change]
    ]
    touched = dict.fromkeys(each.incident_id for each in entries)
    if group.truncated:
        left_out = {"alerts": group.truncated}
        entries += [TimelineRow(each, TimelineKind.TRUNCATED, None, left_out) for each in touched]
    if fetched:
        entries += [
            TimelineRow(each, TimelineKind.FETCHED, None, {"alerts": len(notify)}) for each in touched
        ]
    return entries


def _times(each: Observation) -> dict[str, float | None]:
    return {"starts_at": each.since, "ends_at": each.alert.ends_at}


def _enqueue(
    connection: Connection,
    composed: Notification,
    incident_ids: Mapping[str, str],
    target: NotificationTarget,
    now: float,
) -> Submission:
    """Enqueues a notification in the outbox, and links it to each of its incidents."""
    event_id = str(uuid7())
    kinds: dict[str, list[str]] = {}
    for item in composed.items:
        of_incident = kinds.setdefault(incident_ids[item.fingerprint], [])
        if item.kind.value not in of_incident:
            of_incident.append(item.kind.value)
    # Without an alert that could be read there is no incident.
    submission = _submission(composed, event_id, next(iter(kinds), event_id), target, now)
    enqueue.insert(connection, [submission], now)
    rows = [
        {
            "id": event_id,
            "incident_id": incident_id,
            "channel": CHANNEL,
            "kinds": ",".join(of_incident),
            "at": now,
        }
        for incident_id, of_incident in kinds.items()
    ]
    if rows:
        connection.execute(insert(notification), rows)
    return submission


def _submission(
    composed: Notification, event_id: str, correlation_id: str, target: NotificationTarget, now: float
) -> Submission:
    event = EventRecord(
        id=event_id,
        type=EVENT_TYPE,
        category=CATEGORY,
        title=composed.title,
        source="alertmanager",
        # The label is free text; the column holds 16 characters.
        severity=composed.severity[:16],
        body=notifications.to_json(composed),
        accepted_at=now,
        trace=target.trace,
        parent=target.parent,
        correlation_id=correlation_id,
        client="alertmanager",
        origin=Origin.ALERT,
    )
    urgency = composed.urgency
    messages = tuple(
        MessageRecord(str(uuid7()), chat_id, lane=urgency.lane, silent=urgency.silent, bot=BOT)
        for chat_id in target.chat_ids
    )
    return Submission((event,), (messages,))
