"""The SQL of snapshots: what is stored of a cluster, and the correction by the alerts of Alertmanager's API.

The functions run inside a transaction that the caller opens.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, select, update

from services.alert_relay import store
from services.alert_relay.alertmanager import snapshot
from services.alert_relay.alertmanager.snapshot import Correction, Group, Known, Snapshot
from services.alert_relay.clusters import store as cluster_store
from services.alert_relay.incidents import episode_store
from services.alert_relay.incidents import store as incident_store
from services.alert_relay.incidents.episodes import AlertGroup, Episode, EpisodeChange, Observation, unquoted
from services.alert_relay.notifications.notification import Source
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.schema import webhook
from services.alert_relay.store import StoreResult
from services.contracts.stored import json_of

#: The database channel that wakes the reconciler after a truncated webhook.
CHANNEL = "left_out"


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster that a snapshot is of.

    Args:
        name: of the cluster.
        api_urls: of all its Alertmanagers, without passwords.
        external_url: for links; empty if unknown.
    """

    name: str
    api_urls: tuple[str, ...]
    external_url: str


@dataclass(frozen=True, slots=True)
class TruncatedWebhook:
    """A webhook that left alerts out and is not completed."""

    digest: str
    group: Group
    truncated: int  #: number of alerts that it left out
    received_at: float  #: when it was last received, seconds since the epoch


@dataclass(frozen=True, slots=True)
class Corrected:
    """What a snapshot changed.

    Args:
        correction: what differed.
        results: what was stored, one for each group of alerts.
    """

    correction: Correction
    results: tuple[StoreResult, ...]


def truncated_webhooks(connection: Connection, cluster: str) -> list[TruncatedWebhook]:
    """Returns the webhooks of a cluster whose left-out alerts are still to be read."""
    query = select(webhook).where(
        webhook.c.cluster == cluster, webhook.c.truncated > 0, webhook.c.asked_at.is_(None)
    )
    return [
        TruncatedWebhook(
            row.digest,
            Group.of(unquoted(row.receiver), _group_labels(row.body)),
            row.truncated,
            row.last_received_at,
        )
        for row in connection.execute(query)
    ]


def _group_labels(body: str) -> dict[str, str]:
    found = json_of(body)
    labels = found.get("groupLabels") if isinstance(found, dict) else None
    return {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}


def mark_done(connection: Connection, webhooks: Sequence[TruncatedWebhook], now: float) -> None:
    """Marks truncated webhooks as completed or given up, unless they were received again meanwhile."""
    for each in webhooks:
        same = (webhook.c.digest == each.digest, webhook.c.last_received_at == each.received_at)
        connection.execute(update(webhook).where(*same).values(asked_at=now))


def difference(
    connection: Connection, cluster: Cluster, found: Snapshot, missed_since: Mapping[str, float], now: float
) -> Correction:
    """Returns what differs between a snapshot and what is stored; writes nothing."""
    episodes = episode_store.newest_episodes(connection, cluster.name, list(found.alerts))
    opened = episode_store.open_episodes(connection, cluster.name)
    episodes |= opened
    truncated = frozenset(each.group for each in truncated_webhooks(connection, cluster.name))
    known = Known(
        episodes=episodes,
        receivers=cluster_store.receivers(connection, cluster.name),
        truncated=truncated,
        in_truncated=_in_groups(connection, opened.values(), truncated),
        missed_since=missed_since,
        proven=cluster_store.proven_urls(connection, cluster.name) == cluster.api_urls,
    )
    return snapshot.correct(found, known, now)


def _in_groups(
    connection: Connection, episodes: Collection[Episode], groups: frozenset[Group]
) -> frozenset[str]:
    """Returns the fingerprints of those episodes that belong to one of the groups."""
    if not groups:
        return frozenset()
    ids = list({each.incident_id for each in episodes})
    stored = {key: Group.of(*found) for key, found in incident_store.groups_of(connection, ids).items()}
    return frozenset(each.fingerprint for each in episodes if stored[each.incident_id] in groups)


def proves(connection: Connection, cluster: Cluster, found: Snapshot) -> bool:
    """Whether the snapshot is the first that lists an alert of this cluster.

    The settings may name the API of another Alertmanager, to which all alerts of this one look resolved.
    """
    if cluster_store.proven_urls(connection, cluster.name) == cluster.api_urls:
        return False
    heartbeats = {beat.fingerprint for beat in cluster_store.heartbeats(connection, cluster.name)}
    received = episode_store.open_episodes(connection, cluster.name).keys() | heartbeats
    return not received.isdisjoint(found.alerts)


def apply(
    connection: Connection,
    cluster: Cluster,
    found: Snapshot,
    *,
    missed_since: Mapping[str, float],
    target: NotificationTarget,
    now: float,
) -> Corrected:
    """Corrects what is stored.

    Args:
        connection: in a transaction.
        cluster: the snapshot's.
        found: the snapshot.
        missed_since: by fingerprint, since when an alert is listed without an open episode.
        target: who gets the notifications.
        now: seconds since the epoch.
    """
    cluster_store.lock(connection, cluster.name)
    if proves(connection, cluster, found):
        cluster_store.prove_urls(connection, cluster.name, cluster.api_urls)
    correction = difference(connection, cluster, found, missed_since, now)
    episode_store.mark_suspect(connection, correction.suspect, now)
    episode_store.mark_present(connection, correction.present)
    results = [
        store.apply(connection, group, members, notify, target=target, now=now, source=source)
        for group, members, notify, source in _groups(connection, cluster, correction)
    ]
    return Corrected(correction, tuple(results))


def _groups(
    connection: Connection, cluster: Cluster, correction: Correction
) -> list[tuple[AlertGroup, list[Observation], list[Observation], Source]]:
    """Returns the observations by group, as webhooks would have them."""
    before = [each.before for each in correction.observations if each.before is not None]
    alerts = episode_store.alerts_of(connection, before)
    stored = incident_store.groups_of(connection, list(dict.fromkeys(each.incident_id for each in before)))
    incident_ids = {each.fingerprint: each.incident_id for each in before}
    notify = {each.alert.fingerprint for each in correction.notify}
    by_group: dict[tuple[Group, Source], list[Observation]] = {}
    for each in correction.observations:
        fingerprint, observation = each.alert.fingerprint, each
        # An alert without a group of its own has the group of its open episode's incident.
        group = correction.groups.get(fingerprint) or Group.of(*stored[incident_ids[fingerprint]])
        if each.change is EpisodeChange.RESOLVED:
            resolved = replace(alerts[fingerprint], firing=False, ends_at=each.alert.ends_at)
            observation = replace(each, alert=resolved)
        source = Source.LEFT_OUT if fingerprint in correction.fetched else Source.API
        by_group.setdefault((group, source), []).append(observation)
    return [
        (
            _alert_group(cluster, group, members),
            members,
            [each for each in members if each.alert.fingerprint in notify],
            source,
        )
        for (group, source), members in by_group.items()
    ]


def _alert_group(cluster: Cluster, group: Group, members: Sequence[Observation]) -> AlertGroup:
    return AlertGroup(
        cluster=cluster.name,
        group_key="",
        group_labels=dict(group.labels),
        receiver=group.receiver,
        status="",
        external_url=cluster.external_url,
        reason="",
        truncated=0,
        alerts=tuple(each.alert for each in members),
    )
