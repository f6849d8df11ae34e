"""Update keys: a message with the update key of an earlier message edits it.

The first message of a key is sent, and later ones edit it. Edits that still wait are superseded: a
chat takes one message a second, and only the newest state matters. Where the first message was not
delivered when an edit is claimed, the edit is sent, and later ones edit that.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, literal_column, select, text, update

from services.outbox.chats import locks, message_changes
from services.outbox.messages import Lane, MessageRecord, MessageState, Reason
from services.outbox.schema import chat, message

_Key = tuple[str, int, str]

_FIRST = (
    select(message.c.id, message.c.state, message.c.lane)
    .where(
        message.c.bot == bindparam("bot"),
        message.c.chat_id == bindparam("chat_id"),
        message.c.update_key == bindparam("key"),
        message.c.edits.is_(None),
    )
    .order_by(message.c.seq.desc())
    .limit(1)
)
_WAITING_EDITS = select(message.c.seq).where(
    message.c.bot == bindparam("bot"),
    message.c.chat_id == bindparam("chat_id"),
    message.c.update_key == bindparam("key"),
    message.c.edits.is_not(None),
    # An edit with an attempt goes on: it may have been shown.
    message.c.state == literal_column(f"'{MessageState.QUEUED.value}'"),
)
#: States of a message that cannot be edited: it is not in the chat, as far as is known, and never will be.
_NOT_SHOWN = frozenset(
    {
        MessageState.DEAD_LETTER,
        MessageState.SUPPRESSED,
        MessageState.EXPIRED,
        MessageState.CANCELLED,
        MessageState.UNKNOWN,
    }
)


def resolve(connection: Connection, messages: Sequence[MessageRecord], now: float) -> list[MessageRecord]:
    """Fills in ``edits`` of the messages whose update key has a first message.

    Locks the chats of all messages, and ends the edits that are superseded.

    Args:
        connection: in a transaction.
        messages: that are stored next.
        now: seconds since the epoch.
    """
    messages = _migrated(connection, messages)
    locks.lock_or_create_chats(connection, [(new.bot, new.chat_id) for new in messages])
    firsts = {key: _first(connection, key) for key in _keys(messages)}
    for key, first in firsts.items():
        if first is not None:
            _supersede(connection, key, now)
    resolved: list[MessageRecord] = []
    for new in messages:
        named = _key(new)
        if named is None:
            resolved.append(new)
        elif (first := firsts[named]) is None:
            firsts[named] = (new.id, new.lane)
            resolved.append(new)
        else:
            # In the lane of the first: an edit must not overtake what it edits.
            resolved.append(replace(new, edits=first[0], lane=first[1]))
    return resolved


def _migrated(connection: Connection, messages: Sequence[MessageRecord]) -> list[MessageRecord]:
    """The messages with the chat ids of migrated groups replaced: the first message is in the supergroup."""
    moved = {
        (row.bot, row.chat_id): row.migrated_to
        for row in connection.execute(
            select(chat.c.bot, chat.c.chat_id, chat.c.migrated_to).where(
                chat.c.chat_id.in_(sorted({new.chat_id for new in messages})),
                chat.c.migrated_to.is_not(None),
            )
        )
    }
    return [replace(new, chat_id=moved.get((new.bot, new.chat_id), new.chat_id)) for new in messages]


def _keys(messages: Iterable[MessageRecord]) -> list[_Key]:
    return sorted({key for new in messages if (key := _key(new)) is not None})


def _key(new: MessageRecord) -> _Key | None:
    return (new.bot, new.chat_id, new.update_key) if new.update_key and new.edits is None else None


def _first(connection: Connection, key: _Key) -> tuple[str, Lane] | None:
    bot, chat_id, name = key
    if connection.dialect.name == "postgresql":
        # Of two requests that use a new key at once one is the first message, and the other its edit.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
        connection.execute(lock, {"key": f"{bot}/{chat_id}/{name}"})
    row = connection.execute(_FIRST, {"bot": bot, "chat_id": chat_id, "key": name}).first()
    return None if row is None or MessageState(row.state) in _NOT_SHOWN else (row.id, Lane(row.lane))


def _supersede(connection: Connection, key: _Key, now: float) -> None:
    bot, chat_id, name = key
    waiting = connection.execute(_WAITING_EDITS, {"bot": bot, "chat_id": chat_id, "key": name})
    _end(connection, waiting.scalars().all(), now)


def _end(connection: Connection, seqs: Sequence[int], now: float) -> None:
    cause = "a later event with the same update key"
    message_changes.finish(connection, seqs, MessageState.SUPPRESSED, Reason.SUPERSEDED, cause=cause, now=now)


def begin_anew(connection: Connection, edits: Sequence[int], targets: Sequence[int], now: float) -> None:
    """Turns edits into the first messages of their update keys.

    Args:
        connection: in a transaction that has locked the chats.
        edits: numbers of messages that are sent instead of edited.
        targets: numbers of queued messages that they replace: these are superseded.
        now: seconds since the epoch.
    """
    connection.execute(update(message).where(message.c.seq.in_(edits)).values(edits=None))
    _end(connection, targets, now)
