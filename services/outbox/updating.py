"""Edit in place: which earlier message a new one with the same update key becomes an edit of.

The first message of a key is sent; later ones edit it. Edits that still wait are superseded: a
chat takes one a second, and only the newest state is worth showing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, literal_column, select, text

from services.outbox import chats, locking
from services.outbox.messages import Lane, NewMessage, Reason, State
from services.outbox.schema import message

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
    message.c.state == literal_column(f"'{State.QUEUED.value}'"),
)
#: What an edit cannot be of: nothing of it stands in the chat, nor will.
_NOTHING_SHOWN = frozenset({State.DEAD_LETTER, State.SUPPRESSED, State.EXPIRED, State.CANCELLED})


def resolve(connection: Connection, messages: Sequence[NewMessage], now: float) -> list[NewMessage]:
    """The messages with ``edits`` filled in where their update key has a first message already."""
    locking.hold_or_make(connection, [(new.bot, new.chat_id) for new in messages])
    firsts = {key: _first(connection, key) for key in _keys(messages)}
    for key, first in firsts.items():
        if first is not None:
            _supersede(connection, key, now)
    resolved: list[NewMessage] = []
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


def _keys(messages: Iterable[NewMessage]) -> list[_Key]:
    return sorted({key for new in messages if (key := _key(new)) is not None})


def _key(new: NewMessage) -> _Key | None:
    return (new.bot, new.chat_id, new.update_key) if new.update_key and new.edits is None else None


def _first(connection: Connection, key: _Key) -> tuple[str, Lane] | None:
    bot, chat_id, name = key
    if connection.dialect.name == "postgresql":
        # Two requests that begin the same key at once: one is the first, the other its edit.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
        connection.execute(lock, {"key": f"{bot}/{chat_id}/{name}"})
    row = connection.execute(_FIRST, {"bot": bot, "chat_id": chat_id, "key": name}).first()
    return None if row is None or State(row.state) in _NOTHING_SHOWN else (row.id, Lane(row.lane))


def _supersede(connection: Connection, key: _Key, now: float) -> None:
    bot, chat_id, name = key
    waiting = connection.execute(_WAITING_EDITS, {"bot": bot, "chat_id": chat_id, "key": name})
    chats.finish(
        connection,
        waiting.scalars().all(),
        State.SUPPRESSED,
        Reason.SUPERSEDED,
        cause="a later event with the same update key",
        now=now,
    )
