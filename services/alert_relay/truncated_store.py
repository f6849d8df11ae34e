"""What webhooks left out: which groups are to be asked for, and what becomes of the answer.

The functions run inside a transaction of the caller's.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select, update

from services.alert_relay import episode_store, episodes, notifications, store
from services.alert_relay.episodes import Alert, Change, Heard, Observed
from services.alert_relay.schema import alertmanager, webhook
from services.alert_relay.store import Addressed, Received

#: Told of webhooks that left something out.
CHANNEL = "left_out"
#: An Alertmanager that has not posted for so long is gone, or has another address now.
LATELY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Cut:
    """The newest webhook of a group that left alerts out."""

    cluster: str
    group_key: str
    body: str
    truncated: int
    heard_at: float  #: when it was last received
    clusters: int  #: how many clusters have posted here lately


@dataclass(frozen=True, slots=True)
class Rest:
    """What Alertmanager says of a group besides.

    Args:
        alerts: that fire in the group and were not listed.
        present: fingerprints of all that it has, silenced ones among them.
        absence_counts: whether what is not present is over.
    """

    alerts: tuple[Alert, ...]
    present: frozenset[str]
    absence_counts: bool


@dataclass(frozen=True, slots=True)
class Completed:
    """What came of it; ``opened`` counts the alerts that nothing was known of."""

    received: Received
    opened: int


def cut_groups(connection: Connection, now: float) -> list[Cut]:
    """The groups to ask for, the longest waiting first."""
    lately = alertmanager.c.heard_at > now - LATELY_SECONDS
    clusters = connection.execute(select(func.count()).select_from(alertmanager).where(lately)).scalar_one()
    query = (
        select(webhook)
        .where(webhook.c.truncated > 0, webhook.c.asked_at.is_(None))
        .order_by(webhook.c.last_received_at)
    )
    newest = {(row.cluster, row.group_key): row for row in connection.execute(query)}
    return [
        Cut(row.cluster, row.group_key, row.body, row.truncated, row.last_received_at, clusters)
        for row in newest.values()
    ]


def complete(
    connection: Connection, heard: Heard, rest: Rest, *, asked_at: float, to: Addressed, now: float
) -> Completed | None:
    """Takes in what a webhook left out, as if it had been listed; only what is new is told.

    Args:
        connection: in a transaction.
        heard: the webhook.
        rest: what Alertmanager answered.
        asked_at: when it was asked, seconds since the epoch.
        to: who is told.
        now: seconds since the epoch.

    Returns:
        None where the group was heard of again meanwhile: the answer may be older than that.
    """
    store.hold(connection, heard.cluster)
    if _heard_since(connection, heard, asked_at):
        return None
    alerts = [alert for alert in rest.alerts if alert.name != store.WATCHDOG]
    known = episode_store.newest(connection, heard.cluster, [alert.fingerprint for alert in alerts])
    observed = [episodes.observe(alert, known.get(alert.fingerprint)) for alert in alerts]
    opened = sum(each.change is Change.FIRED for each in observed)
    if rest.absence_counts:
        observed += _over(connection, heard, rest, now)
        asked(connection, (heard.cluster, heard.group_key), now)
    told = [each for each in observed if each.change in notifications.TRANSITIONS]
    whole = replace(heard, truncated=0, alerts=tuple(each.alert for each in observed))
    received = store.take(connection, whole, observed, told, to=to, now=now, fetched=True)
    return Completed(received, opened)


def _heard_since(connection: Connection, heard: Heard, asked_at: float) -> bool:
    mine = (webhook.c.cluster == heard.cluster, webhook.c.group_key == heard.group_key)
    latest = connection.execute(select(func.max(webhook.c.last_received_at)).where(*mine)).scalar()
    return latest is not None and latest > asked_at


def _over(connection: Connection, heard: Heard, rest: Rest, now: float) -> list[Observed]:
    """Episodes of the group that Alertmanager has not any more; when they ended it does not tell."""
    present = rest.present | {alert.fingerprint for alert in heard.alerts}
    here = episode_store.open_in(connection, heard.cluster, heard.group_labels)
    return [
        Observed(replace(alert, firing=False, ends_at=max(now, alert.starts_at)), Change.RESOLVED, episode)
        for episode, alert in here
        if alert.fingerprint not in present
    ]


def asked(connection: Connection, group: tuple[str, str], now: float) -> None:
    """Notes that a group need not be asked for any more: what it left out is known, or given up."""
    cluster, group_key = group
    mine = (webhook.c.cluster == cluster, webhook.c.group_key == group_key, webhook.c.asked_at.is_(None))
    connection.execute(update(webhook).where(*mine, webhook.c.truncated > 0).values(asked_at=now))
