"""Stores a webhook in one transaction: the raw payload, its episodes, incidents and messages, or nothing.

The functions run inside a transaction that the caller opens.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from sqlalchemy import Connection

from services.alert_relay.alertmanager.config import RepeatIntervals
from services.alert_relay.clusters import store as cluster_store
from services.alert_relay.incidents import episode_store, episodes, timeline
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents.episodes import OPENING, AlertGroup, End, EpisodeChange, Observation
from services.alert_relay.incidents.incident import ALERT_RELAY, Actor, ActorKind
from services.alert_relay.incidents.store import ResolvedIncident
from services.alert_relay.incidents.timeline import TimelineKind, TimelineRow
from services.alert_relay.maintenance import store as maintenance_store
from services.alert_relay.maintenance.store import Held
from services.alert_relay.metrics import HeldBack
from services.alert_relay.notifications import composition, projection
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.composition import Origin
from services.alert_relay.notifications.notification import NotifiedAlert, Source
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.schema import webhook
from services.kit.database.connect import upsert
from services.outbox.messages import Submission

#: The alert that always fires, a heartbeat of Prometheus and Alertmanager; it causes no notification.
WATCHDOG = "Watchdog"
#: The changes that end an episode.
_ENDING = (EpisodeChange.RESOLVED, EpisodeChange.MISSED, EpisodeChange.REFIRED)

NO_INTERVALS: Mapping[str, RepeatIntervals] = MappingProxyType({})

#: The relay opens an incident of its own anew after this time, if a person resolved it while it goes on.
OWN_REPEAT_SECONDS = 14_400.0

_OWN_CHANGES = (EpisodeChange.FIRED, EpisodeChange.REFIRED, EpisodeChange.RESOLVED)


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What a transaction stored.

    Args:
        submissions: the messages that it enqueued.
        cluster: name of the cluster.
        watchdog: whether the webhook listed a firing Watchdog alert.
        resolved: the incidents that it resolved.
        held_back: the number of notifications that people did not get, by cause.
    """

    submissions: tuple[Submission, ...]
    cluster: str
    watchdog: bool
    resolved: tuple[ResolvedIncident, ...] = ()
    held_back: Mapping[HeldBack, int] = field(default_factory=dict)


def receive(
    connection: Connection,
    group: AlertGroup,
    body: str,
    target: NotificationTarget,
    *,
    now: float,
    repeats: Mapping[str, RepeatIntervals] = NO_INTERVALS,
) -> StoreResult:
    """Stores a webhook, and applies it to episodes and incidents.

    A redelivered webhook changes only the times at which it and its alerts were last received.

    Args:
        connection: in a transaction.
        group: its cluster is the name of a cluster, or the external URL of an Alertmanager.
        body: the raw payload.
        target: who gets the notifications.
        now: seconds since the epoch.
        repeats: by cluster, the repeat intervals that are known.
    """
    group = replace(group, cluster=cluster_store.touch(connection, group.cluster, now))
    heartbeats = [alert for alert in group.alerts if alert.name == WATCHDOG and alert.firing]
    cluster_store.record_heartbeats(connection, group.cluster, heartbeats, now)
    if not _save_webhook(connection, group, body, now):
        # People know what could not be read in a webhook that was received before.
        group = replace(group, unreadable=())
    cluster_store.record_receiver(connection, group.cluster, group.receiver, now)
    intervals = repeats.get(group.cluster, RepeatIntervals())
    repeat_seconds = intervals.seconds(group.group_key, group.receiver)
    observations = _observe_all(connection, group, now, repeat_seconds)
    going_on = list({each.before.incident_id for each in observations if each.before and each.before.open})
    acknowledged = incident_store.acknowledged(connection, going_on)
    notify = composition.to_notify(observations, repeat_seconds, now, acknowledged)
    result = apply(connection, group, observations, notify, target=target, now=now)
    return replace(result, watchdog=bool(heartbeats))


def report(connection: Connection, group: AlertGroup, target: NotificationTarget, now: float) -> StoreResult:
    """Applies an alert that the relay raises or resolves itself; repeats cause no notification.

    A resolved alert that never fired changes nothing.
    """
    cluster_store.lock(connection, group.cluster)
    seen = _observe_all(connection, group, now, OWN_REPEAT_SECONDS)
    observations = [each for each in seen if each.change in _OWN_CHANGES]
    return apply(connection, group, observations, observations, target=target, now=now)


def _observe_all(
    connection: Connection, group: AlertGroup, now: float, repeat_seconds: float
) -> list[Observation]:
    listed = {alert.fingerprint: alert for alert in group.alerts if alert.name != WATCHDOG}
    known = episode_store.newest_episodes(connection, group.cluster, list(listed))
    return [
        episodes.observe(alert, known.get(alert.fingerprint), now=now, repeat_seconds=repeat_seconds)
        for alert in listed.values()
    ]


def apply(
    connection: Connection,
    group: AlertGroup,
    observations: Sequence[Observation],
    notify: Sequence[Observation],
    *,
    target: NotificationTarget,
    now: float,
    source: Source = Source.WEBHOOK,
) -> StoreResult:
    """Writes the observations, and enqueues the notifications.

    Args:
        connection: in a transaction that has locked the cluster's row.
        group: the group that the alerts belong to.
        observations: every alert of the group.
        notify: the ones that people are notified of.
        target: who gets the notifications.
        now: seconds since the epoch.
        source: where the relay has the alerts from.
    """
    actor = Actor(ActorKind.ALERTMANAGER, group.cluster) if group.receiver else ALERT_RELAY
    assigned = incident_store.assign(
        connection, group, observations, actor=actor, reopen_seconds=target.reopen_seconds, now=now
    )
    incident_ids = assigned.incident_ids
    held = maintenance_store.hold_back(connection, group.cluster, notify, now)
    notify = held.notify
    notified = {each.alert.fingerprint for each in notify}
    episode_store.write_episodes(
        connection, group.cluster, observations, incident_ids, notified=notified, now=now
    )
    # An alert that fired anew while it is silenced is not notified, and is in the timeline.
    changed = [
        each
        for each in observations
        if each.change in composition.TRANSITIONS or each.alert.fingerprint in notified
    ]
    entries = _timeline(group, changed, incident_ids, source, actor)
    timeline.add(connection, entries + _held_back(held, observations, incident_ids), now)
    ended = {incident_ids[each.alert.fingerprint] for each in observations if each.change in _ENDING}
    # A new episode may belong to another incident than the one that it ends: the group's labels changed.
    ended |= {each.before.incident_id for each in observations if each.before and each.change in _ENDING}
    resolved = incident_store.end(connection, ended, actor, now)
    touched = sorted(ended | {incident_ids[each.alert.fingerprint] for each in changed})
    news: dict[str, list[NotifiedAlert]] = {}
    for each in notify:
        incident_id = incident_ids[each.alert.fingerprint]
        news.setdefault(incident_id, []).append(composition.item_of(each, incident_id))
    composed = projection.project(
        connection,
        touched,
        assigned.before,
        news,
        origin=Origin(group.truncated, source),
        target=target,
        now=now,
    )
    composed += projection.addressed(composition.unreadable(group), target.targets)
    submissions = notification_store.enqueue_all(connection, composed, target, now)
    held_back = {
        HeldBack.MAINTENANCE: len({incident_ids[each] for each in held.windows}),
        HeldBack.THROTTLED: len({each.about for each in composed if each.notification.throttled}),
    }
    return StoreResult(tuple(submissions), group.cluster, False, tuple(resolved), held_back)


def _held_back(
    held: Held, observations: Sequence[Observation], incident_ids: Mapping[str, str]
) -> list[TimelineRow]:
    """Returns an entry for each incident whose alerts fired in a maintenance window."""
    fired = [each.alert.fingerprint for each in observations if each.change in OPENING]
    windows = {incident_ids[each]: held.windows[each] for each in fired if each in held.windows}
    return [
        TimelineRow(incident_id, TimelineKind.HELD_BACK, ALERT_RELAY, detail={"window": each.name})
        for incident_id, each in windows.items()
    ]


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
    group: AlertGroup,
    changed: Sequence[Observation],
    incident_ids: Mapping[str, str],
    source: Source,
    actor: Actor,
) -> list[TimelineRow]:
    entries = [
        TimelineRow(incident_ids[each.alert.fingerprint], kind, actor, each.alert.fingerprint, _times(each))
        for each in changed
        for kind in ((TimelineKind.ABSENT,) if each.ended_by is End.ABSENT else _TIMELINE[each.change])
    ]
    touched = dict.fromkeys(each.incident_id for each in entries)
    if group.truncated:
        left_out = {"alerts": group.truncated}
        entries += [TimelineRow(each, TimelineKind.TRUNCATED, actor, detail=left_out) for each in touched]
    if source is Source.LEFT_OUT:
        fetched = {"alerts": len(changed)}
        entries += [TimelineRow(each, TimelineKind.FETCHED, actor, detail=fetched) for each in touched]
    return entries


def _times(each: Observation) -> dict[str, float | None]:
    return {"starts_at": each.since, "ends_at": each.alert.ends_at}
