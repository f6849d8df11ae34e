"""Update keys: a message with the update key of an earlier message edits it.

A key belongs to one client, chat and topic: nobody overwrites the message of another. The first message of a
key is sent, and later ones edit it. Readers take the lowest message of a key in their chat as its newest
state, so that one is kept newest:

- Edits that still wait are superseded: a chat takes one message a second, and only the newest state matters.
- An event with an earlier timestamp than one that is stored already is superseded on arrival.
- Where the first message was not delivered when an edit is claimed, the edit is sent; it begins the key anew,
  and later ones edit that. So does an edit that has to be sent as a new message.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection, bindparam, func, literal_column, select, text, update

from services.outbox.chats import locks, message_changes
from services.outbox.messages import WAITING, Lane, MessageRecord, MessageState, Reason
from services.outbox.schema import chat, message

#: Telegram's number of a group's topic "General", whose messages have none.
GENERAL = 1
_CAUSE = "a later event with the same update key"


@dataclass(frozen=True, slots=True, order=True)
class UpdateKey:
    """An update key in its scope; ``client`` is the name of the API key that posts with it."""

    bot: str
    chat_id: int
    thread_id: int
    client: str
    name: str


@dataclass(slots=True)
class _Stored:
    """What is stored of a key, and what this transaction adds to it.

    Args:
        first: id and lane of the message that later ones edit; None: there is none.
        newest: the latest timestamp of its events, seconds since the epoch.
        waits: id of the edit of this transaction that a later one supersedes.
        superseded: whether the waiting edits of earlier transactions are ended.
    """

    first: tuple[str, Lane] | None
    newest: float | None
    waits: str | None = None
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Resolved:
    """The result of :func:`resolve`.

    Args:
        messages: to be stored, in the given order.
        superseded: ids of those that are to be ended once they are stored.
    """

    messages: list[MessageRecord] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)


_OF_KEY = (
    message.c.bot == bindparam("bot"),
    message.c.chat_id == bindparam("chat_id"),
    message.c.update_client == bindparam("client"),
    message.c.update_key == bindparam("name"),
    func.coalesce(message.c.thread_id, GENERAL) == bindparam("thread_id"),
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
_FIRST = (
    select(message.c.id, message.c.state, message.c.lane)
    .where(*_OF_KEY, message.c.edits.is_(None), message.c.reason != Reason.SUPERSEDED.value)
    .order_by(message.c.seq.desc())
    .limit(1)
)
_WAITING_EDITS = select(message.c.seq).where(
    *_OF_KEY,
    message.c.edits.is_not(None),
    # An edit with an attempt goes on: it may have been shown.
    message.c.state == literal_column(f"'{MessageState.QUEUED.value}'"),
)
_NEWEST = select(func.max(message.c.update_at)).where(
    *_OF_KEY, message.c.state.not_in([state.value for state in _NOT_SHOWN - {MessageState.UNKNOWN}])
)


def resolve(connection: Connection, posted: Sequence[tuple[str, MessageRecord]], now: float) -> Resolved:
    """Fills in ``edits`` of the messages whose update key has a first message.

    Locks the chats of all messages, and ends the stored edits that are superseded.

    Args:
        connection: in a transaction.
        posted: the messages that are stored next, each with the client that posted it.
        now: seconds since the epoch.
    """
    posted = _migrated(connection, posted)
    locks.lock_or_create_chats(connection, [(new.bot, new.chat_id) for _, new in posted])
    keys = sorted({key for client, new in posted if (key := _key(client, new)) is not None})
    stored = {key: _read(connection, key) for key in keys}
    resolved = Resolved()
    for client, new in posted:
        key = _key(client, new)
        resolved.messages.append(
            new if key is None else _placed(connection, key, stored[key], new, resolved.superseded, now=now)
        )
    return resolved


def end_superseded(connection: Connection, message_ids: Sequence[str], now: float) -> None:
    """Ends the superseded messages of :func:`resolve`, after they are stored."""
    if message_ids:
        query = select(message.c.seq).where(message.c.id.in_(message_ids)).order_by(message.c.seq)
        _end(connection, connection.execute(query).scalars().all(), now)


def _placed(
    connection: Connection,
    key: UpdateKey,
    stored: _Stored,
    new: MessageRecord,
    superseded: list[str],
    *,
    now: float,
) -> MessageRecord:
    """The message with what it edits; notes which messages it supersedes, or that it is superseded."""
    if new.update_at is not None:
        if stored.newest is not None and new.update_at < stored.newest:
            superseded.append(new.id)
            return new
        stored.newest = new.update_at
    if stored.first is None:
        stored.first, stored.superseded = (new.id, new.lane), True
        return new
    if not stored.superseded:
        _end(connection, connection.execute(_WAITING_EDITS, _bound(key)).scalars().all(), now)
        stored.superseded = True
    superseded += [stored.waits] if stored.waits else []
    stored.waits = new.id
    # In the lane of the first: an edit must not overtake what it edits.
    return replace(new, edits=stored.first[0], lane=stored.first[1])


def _migrated(
    connection: Connection, posted: Sequence[tuple[str, MessageRecord]]
) -> list[tuple[str, MessageRecord]]:
    """The messages with the chat ids of migrated groups replaced: the first message is in the supergroup."""
    moved = {
        (row.bot, row.chat_id): row.migrated_to
        for row in connection.execute(
            select(chat.c.bot, chat.c.chat_id, chat.c.migrated_to).where(
                chat.c.chat_id.in_(sorted({new.chat_id for _, new in posted})),
                chat.c.migrated_to.is_not(None),
            )
        )
    }
    return [
        (client, replace(new, chat_id=moved.get((new.bot, new.chat_id), new.chat_id)))
        for client, new in posted
    ]


def _key(client: str, new: MessageRecord) -> UpdateKey | None:
    if not new.update_key or new.edits is not None:
        return None
    return UpdateKey(new.bot, new.chat_id, new.thread_id or GENERAL, client, new.update_key)


def _bound(key: UpdateKey) -> dict[str, str | int]:
    """The parameters of the statements of a key."""
    return {
        "bot": key.bot,
        "chat_id": key.chat_id,
        "thread_id": key.thread_id,
        "client": key.client,
        "name": key.name,
    }


def _read(connection: Connection, key: UpdateKey) -> _Stored:
    if connection.dialect.name == "postgresql":
        # Of two requests that use a new key at once one is the first message, and the other its edit.
        lock = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
        connection.execute(lock, {"key": f"{key.bot}/{key.chat_id}/{key.name}"})
    row = connection.execute(_FIRST, _bound(key)).first()
    shown = row is not None and MessageState(row.state) not in _NOT_SHOWN
    newest = connection.execute(_NEWEST, _bound(key)).scalar()
    return _Stored((row.id, Lane(row.lane)) if row is not None and shown else None, newest)


def _end(connection: Connection, seqs: Sequence[int], now: float) -> None:
    message_changes.finish(
        connection, seqs, MessageState.SUPPRESSED, Reason.SUPERSEDED, cause=_CAUSE, now=now
    )


def begin_anew(connection: Connection, edits: Sequence[int], targets: Sequence[int], now: float) -> None:
    """Turns edits into the first messages of their update keys; edits that wait behind them edit them.

    Args:
        connection: in a transaction that has locked the chats.
        edits: numbers of messages that are sent instead of edited.
        targets: numbers of queued messages that they replace: these are superseded.
        now: seconds since the epoch.
    """
    rows = connection.execute(
        select(message.c.seq, message.c.id, message.c.edits).where(
            message.c.seq.in_(edits), message.c.edits.is_not(None)
        )
    ).all()
    for row in rows:
        behind = (message.c.edits == row.edits, message.c.seq > row.seq, message.c.update_key.is_not(None))
        waits = message.c.state.in_([state.value for state in WAITING])
        connection.execute(update(message).where(*behind, waits).values(edits=row.id))
    connection.execute(update(message).where(message.c.seq.in_(edits)).values(edits=None))
    _end(connection, targets, now)
