"""Digests: messages with the same digest key wait until the end of a window, and are then sent as one.

A key belongs to one client, bot, chat and topic. The first message opens the window, in the transaction that
stores it; later ones join until its end. They wait in the queue, where no claim takes them. What happens at
the end of the window is in :mod:`services.outbox.intake.digest_ends`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import uuid_utils
from sqlalchemy import Connection, delete, func, insert, select, text, update

from services.kit.clock import rfc3339
from services.outbox.chats import message_changes
from services.outbox.intake.update_keys import GENERAL
from services.outbox.messages import EventRecord, MessageRecord, MessageState
from services.outbox.messages.digest import MOST_MEMBERS, DigestKey
from services.outbox.schema import digest, digest_member, message

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))")
_Pair = tuple[EventRecord, tuple[MessageRecord, ...]]


class Phase(StrEnum):
    """Where a digest is."""

    COLLECTING = "collecting"  #: messages join it until the end of its window
    SENDING = "sending"  #: its message is stored; the others wait for its end
    ENDED = "ended"  #: they ended as its message did, or there was nothing to combine


@dataclass(frozen=True, slots=True, order=True)
class _Topic:
    """A digest key in its scope."""

    client: str
    bot: str
    chat_id: int
    thread_id: int
    name: str


@dataclass(slots=True)
class _Open:
    """A digest that collects messages."""

    id: str
    until: float
    members: int


@dataclass(frozen=True, slots=True)
class Joined:
    """The result of :func:`join`.

    Args:
        events: with their messages, to be stored.
        members: ids of the messages that wait, each with the id, key and end of its digest.
    """

    events: list[_Pair]
    members: list[tuple[str, str, str, float]]


def join(connection: Connection, events: Sequence[_Pair], now: float) -> Joined:
    """Finds or opens the digest of each message with a digest key.

    Args:
        connection: in a transaction.
        events: that are stored next.
        now: seconds since the epoch.
    """
    topics = sorted({_topic(e, m, m.digest) for e, of_event in events for m in of_event if m.digest})
    if connection.dialect.name == "postgresql":
        # In one order everywhere, and before the chats: two transactions must not deadlock.
        for topic in topics:
            connection.execute(_LOCK, {"name": f"digest/{topic}"})
    collecting = {topic: _collecting(connection, topic, now) for topic in topics}
    joined = Joined([], [])
    for e, of_event in events:
        placed = tuple(_placed(connection, e, m, collecting, joined, now=now) for m in of_event)
        joined.events.append((e, placed))
    for one in collecting.values():
        if one is not None:
            connection.execute(update(digest).where(digest.c.id == one.id).values(members=one.members))
    return joined


def write_members(connection: Connection, joined: Joined, now: float) -> None:
    """Writes which messages wait in which digest, once they are stored, and to their history."""
    if not joined.members:
        return
    rows = [{"message_id": message_id, "digest_id": its} for message_id, its, _, _ in joined.members]
    connection.execute(insert(digest_member), rows)
    ids = [message_id for message_id, _, _, _ in joined.members]
    seqs = {
        row.id: row.seq
        for row in connection.execute(select(message.c.id, message.c.seq).where(message.c.id.in_(ids)))
    }
    for message_id, _, key, until in joined.members:
        cause = f"waits in the digest {key} until {rfc3339(until)}"
        message_changes.note(connection, seqs[message_id], MessageState.QUEUED, cause, now)


def _topic(e: EventRecord, m: MessageRecord, key: DigestKey) -> _Topic:
    return _Topic(e.client, m.bot, m.chat_id, m.thread_id or GENERAL, key.name)


def _collecting(connection: Connection, topic: _Topic, now: float) -> _Open | None:
    """The open digest of a topic. Its row is locked: it is not combined before the commit."""
    query = (
        select(digest.c.id, digest.c.until, digest.c.members)
        .where(
            digest.c.client == topic.client,
            digest.c.key == topic.name,
            digest.c.bot == topic.bot,
            digest.c.chat_id == topic.chat_id,
            func.coalesce(digest.c.thread_id, GENERAL) == topic.thread_id,
            digest.c.until > now,
            digest.c.phase == Phase.COLLECTING.value,
        )
        .order_by(digest.c.until.desc())
        .limit(1)
    )
    row = connection.execute(query.with_for_update()).first()
    return None if row is None else _Open(row.id, row.until, row.members)


def _placed(
    connection: Connection,
    e: EventRecord,
    m: MessageRecord,
    collecting: dict[_Topic, _Open | None],
    joined: Joined,
    *,
    now: float,
) -> MessageRecord:
    if m.digest is None:
        return m
    topic = _topic(e, m, m.digest)
    one = collecting[topic]
    if one is None or one.members >= MOST_MEMBERS:
        if one is not None:
            # It is full: it is sent now, instead of at the end of its window.
            full = {"members": one.members, "until": now}
            connection.execute(update(digest).where(digest.c.id == one.id).values(full))
        one = collecting[topic] = _opened(connection, topic, m, m.digest, now)
    one.members += 1
    joined.members.append((m.id, one.id, m.digest.name, one.until))
    return replace(m, deliver_at=one.until)


def _opened(connection: Connection, topic: _Topic, m: MessageRecord, key: DigestKey, now: float) -> _Open:
    one = _Open(str(uuid_utils.uuid7()), now + key.window, 0)
    connection.execute(
        insert(digest).values(
            id=one.id,
            client=topic.client,
            key=key.name,
            bot=m.bot,
            chat_id=m.chat_id,
            thread_id=m.thread_id,
            opened_at=now,
            until=one.until,
            members=0,
            phase=Phase.COLLECTING.value,
            message_id=None,
        )
    )
    return one


def delete_old(connection: Connection, before: float, most: int) -> int:
    """Deletes a portion of the digests that ended before a time, for the retention; returns their number."""
    old = select(digest.c.id).where(digest.c.phase == Phase.ENDED.value, digest.c.until < before).limit(most)
    ids = connection.execute(old).scalars().all()
    connection.execute(delete(digest_member).where(digest_member.c.digest_id.in_(ids)))
    return connection.execute(delete(digest).where(digest.c.id.in_(ids))).rowcount
