"""A webhook is stored in one transaction, or not at all: what came in, what it means, what is told.

The functions run inside a transaction of the caller's.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, update
from uuid_utils import uuid7

from services.alert_relay import episode_store, episodes, notifications
from services.alert_relay.episode_store import Entry
from services.alert_relay.episodes import Change, Heard, Observed
from services.alert_relay.incidents import Mark
from services.alert_relay.notifications import Notice
from services.alert_relay.schema import alertmanager, notification, webhook
from services.kit.database.connect import upsert
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, Origin, Submission

#: The alert that always fires: a sign of life of Prometheus and Alertmanager, told to nobody.
WATCHDOG = "Watchdog"
CHANNEL = "telegram"
EVENT_TYPE, CATEGORY = "alert_notification", "notification"
#: Its own name for its bot: in a database that is shared with bridge, nobody takes the other's messages.
BOT = "alerts"

_OWN_FINDINGS = (Change.FIRED, Change.RESOLVED)


@dataclass(frozen=True, slots=True)
class Addressed:
    """To whom, and in which trace."""

    chat_ids: tuple[int, ...]
    trace: TraceContext
    parent: TraceContext | None = None


@dataclass(frozen=True, slots=True)
class Received:
    """What the webhook came to.

    Args:
        submissions: what was handed to the outbox.
        watchdog: whether it held the sign of life.
        lasted: of each incident that is over now, seconds from its first alert's start to its last one's end.
    """

    submissions: tuple[Submission, ...]
    watchdog: bool
    lasted: tuple[float, ...]


def receive(connection: Connection, heard: Heard, body: str, to: Addressed, now: float) -> Received:
    """Stores a webhook and what follows from it.

    A webhook that was stored before changes no more than the times at which its alerts were heard of.
    """
    alive = any(alert.name == WATCHDOG and alert.firing for alert in heard.alerts)
    _meet(connection, heard.cluster, now, alive=alive)
    _keep(connection, heard, body, now)
    observed = _observed(connection, heard)
    received = take(connection, heard, observed, notifications.news(observed, now), to=to, now=now)
    return replace(received, watchdog=alive)


def tell_of(connection: Connection, heard: Heard, to: Addressed, now: float) -> Received:
    """Takes in what the relay itself found out; only what begins and what ends is told.

    That all is well is no news where nothing was wrong.
    """
    hold(connection, heard.cluster)
    observed = [each for each in _observed(connection, heard) if each.change in _OWN_FINDINGS]
    return take(connection, heard, observed, observed, to=to, now=now)


def _observed(connection: Connection, heard: Heard) -> list[Observed]:
    listed = {alert.fingerprint: alert for alert in heard.alerts if alert.name != WATCHDOG}
    known = episode_store.newest(connection, heard.cluster, list(listed))
    return [episodes.observe(alert, known.get(alert.fingerprint)) for alert in listed.values()]


def take(
    connection: Connection,
    heard: Heard,
    observed: Sequence[Observed],
    told: Sequence[Observed],
    *,
    to: Addressed,
    now: float,
    fetched: bool = False,
) -> Received:
    """Writes what was observed, and hands to the outbox what people are told of it.

    Args:
        connection: in a transaction that holds the cluster's row.
        heard: where it was heard.
        observed: every alert, and what it means.
        told: those of them that are told.
        to: who is told.
        now: seconds since the epoch.
        fetched: whether the relay had to ask for it.
    """
    homes = episode_store.place(connection, heard, observed, now)
    episode_store.write(connection, heard.cluster, observed, homes, now)
    episode_store.note(connection, _marks(heard, told, homes, fetched=fetched), now)
    lasted = episode_store.close(connection, {homes[each.alert.fingerprint] for each in observed}, now)
    composed = notifications.compose(heard, observed, told, fetched=fetched)
    submissions = [_tell(connection, notice, homes, to, now) for notice in composed]
    return Received(tuple(submissions), watchdog=False, lasted=tuple(lasted))


def _meet(connection: Connection, cluster: str, now: float, *, alive: bool) -> None:
    """Notes that the cluster was heard of; whoever writes the row first goes first."""
    row = {"cluster": cluster, "first_heard_at": now, "heard_at": now, "watchdog_at": now if alive else None}
    statement = upsert(connection, alertmanager).values(row)
    news = {"heard_at": now} | ({"watchdog_at": now} if alive else {})
    connection.execute(statement.on_conflict_do_update(index_elements=[alertmanager.c.cluster], set_=news))


def hold(connection: Connection, cluster: str) -> None:
    """Goes first, as one who hears of the cluster does, without having heard of it."""
    mine = alertmanager.c.cluster == cluster
    connection.execute(update(alertmanager).where(mine).values(heard_at=alertmanager.c.heard_at))


def _keep(connection: Connection, heard: Heard, body: str, now: float) -> None:
    digest = hashlib.sha256(f"{heard.cluster}\n{body}".encode()).hexdigest()
    statement = upsert(connection, webhook).values(
        digest=digest,
        cluster=heard.cluster,
        group_key=heard.group_key,
        receiver=heard.receiver,
        status=heard.status,
        reason=heard.reason,
        truncated=heard.truncated,
        body=body,
        received_at=now,
        last_received_at=now,
        deliveries=1,
    )
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[webhook.c.digest],
            set_={"last_received_at": now, "deliveries": webhook.c.deliveries + 1, "asked_at": None},
        )
    )


_MARKS = {
    Change.FIRED: (Mark.FIRING,),
    Change.RESOLVED: (Mark.RESOLVED,),
    Change.MISSED: (Mark.FIRING, Mark.RESOLVED),
    Change.CONTINUES: (Mark.REPEATED,),
}


def _marks(heard: Heard, told: Sequence[Observed], homes: dict[str, str], *, fetched: bool) -> list[Entry]:
    """The news as entries of the timelines."""
    marks = [
        Entry(homes[each.alert.fingerprint], mark, each.alert.fingerprint, _times(each))
        for each in told
        for mark in _MARKS[each.change]
    ]
    touched = dict.fromkeys(mark.incident for mark in marks)
    if heard.truncated:
        marks += [Entry(home, Mark.TRUNCATED, None, {"alerts": heard.truncated}) for home in touched]
    if fetched:
        marks += [Entry(home, Mark.FETCHED, None, {"alerts": len(told)}) for home in touched]
    return marks


def _times(each: Observed) -> dict[str, float | None]:
    return {"starts_at": each.since, "ends_at": each.alert.ends_at}


def _tell(
    connection: Connection, notice: Notice, homes: dict[str, str], to: Addressed, now: float
) -> Submission:
    """Hands a notice to the outbox, and notes for each of its incidents that it was."""
    event_id = str(uuid7())
    kinds: dict[str, list[str]] = {}
    for item in notice.items:
        said = kinds.setdefault(homes[item.fingerprint], [])
        if item.kind.value not in said:
            said.append(item.kind.value)
    submission = _submission(notice, event_id, next(iter(kinds)), to, now)
    enqueue.insert(connection, [submission], now)
    connection.execute(
        insert(notification),
        [
            {"id": event_id, "incident_id": home, "channel": CHANNEL, "kinds": ",".join(said), "at": now}
            for home, said in kinds.items()
        ],
    )
    return submission


def _submission(notice: Notice, event_id: str, incident_id: str, to: Addressed, now: float) -> Submission:
    event = EventRecord(
        id=event_id,
        type=EVENT_TYPE,
        category=CATEGORY,
        title=notice.title,
        source="alertmanager",
        # The label is free text; the column is not.
        severity=notice.severity[:16],
        body=notifications.to_json(notice),
        accepted_at=now,
        trace=to.trace,
        parent=to.parent,
        correlation_id=incident_id,
        client="alertmanager",
        origin=Origin.ALERT,
    )
    messages = tuple(
        MessageRecord(str(uuid7()), chat_id, lane=notice.urgency.lane, silent=notice.urgency.silent, bot=BOT)
        for chat_id in to.chat_ids
    )
    return Submission((event,), (messages,))
