"""Edit in place: which earlier message a new one with the same update key becomes an edit of.

The first message of a key is sent; later ones edit it. Edits that still wait are superseded: a
chat takes one a second, and only the newest state is worth showing. Where the first one does not
stand in the chat when an edit has its turn, the edit is sent, and is the first from then on.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, literal_column, select, text, update

from services.outbox.chats import chat_queue, locks
from services.outbox.messages import Claimed, Lane, MessageRecord, MessageState, Reason
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
    # Tried ones go on: nobody knows yet whether they were shown.
    message.c.state == literal_column(f"'{MessageState.QUEUED.value}'"),
)
#: What an edit cannot be of: nothing of it stands in the chat that is known, nor will.
_NOTHING_SHOWN = frozenset(
    {
        MessageState.DEAD_LETTER,
        MessageState.SUPPRESSED,
        MessageState.EXPIRED,
        MessageState.CANCELLED,
        MessageState.UNKNOWN,
    }
)


def resolve(connection: Connection, messages: Sequence[MessageRecord], now: float) -> list[MessageRecord]:
    """The messages with ``edits`` filled in where their update key has a first message already."""
    messages = _followed(connection, messages)
    locks.hold_or_make(connection, [(new.bot, new.chat_id) for new in messages])
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


def _followed(connection: Connection, messages: Sequence[MessageRecord]) -> list[MessageRecord]:
    """The messages, those of groups that became supergroups at their new ids: there the first one stands."""
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
        # Two requests that begin the same key at once: one is the first, the other its edit.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
        connection.execute(lock, {"key": f"{bot}/{chat_id}/{name}"})
    row = connection.execute(_FIRST, {"bot": bot, "chat_id": chat_id, "key": name}).first()
    return None if row is None or MessageState(row.state) in _NOTHING_SHOWN else (row.id, Lane(row.lane))


def _supersede(connection: Connection, key: _Key, now: float) -> None:
    bot, chat_id, name = key
    waiting = connection.execute(_WAITING_EDITS, {"bot": bot, "chat_id": chat_id, "key": name})
    _end(connection, waiting.scalars().all(), now)


def _end(connection: Connection, seqs: Sequence[int], now: float) -> None:
    cause = "a later event with the same update key"
    chat_queue.finish(connection, seqs, MessageState.SUPPRESSED, Reason.SUPERSEDED, cause=cause, now=now)


_target = message.alias("target")
_BASES = select(
    message.c.seq,
    message.c.update_key,
    _target.c.seq.label("target"),
    _target.c.state,
).join_from(message, _target, _target.c.id == message.c.edits, isouter=True)


def begin_anew(
    connection: Connection, baseless: Sequence[Claimed], now: float
) -> tuple[list[Claimed], list[Claimed]]:
    """Edits of what does not stand in the chat: those that are sent instead, and those that nobody needs.

    Nobody needs the verdict on a question that was never shown. An edit by an update key has the newest
    state, which is what counts: what it was to edit, and still waits, is superseded.

    Args:
        connection: in a transaction that has the chats of the messages.
        baseless: as they were loaded.
        now: seconds since the epoch.
    """
    if not baseless:
        return [], []
    of = {m.seq: m for m in baseless}
    rows = connection.execute(_BASES.where(message.c.seq.in_(sorted(of)))).all()
    keyed = [row for row in rows if row.update_key is not None]
    sent = [
        of[row.seq] for row in rows if row.update_key is not None or row.state == MessageState.UNKNOWN.value
    ]
    connection.execute(
        update(message).where(message.c.seq.in_([row.seq for row in keyed])).values(edits=None)
    )
    _end(connection, [row.target for row in keyed if row.state == MessageState.QUEUED.value], now)
    return sent, [m for m in baseless if m not in sent]
