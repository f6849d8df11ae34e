"""Change feed: every change of a message's state, in the order of the commits.

A transaction writes one row with all its changes, so the feed is cheap and agrees with the tables. A consumer
stores a :class:`Position` and reads on from it: it gets each change once, and no broker is needed.

On PostgreSQL a transaction with a lower number may commit after one with a higher. Rows are therefore read in
the order of their transactions, up to the oldest transaction that is still open.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict, cast

import orjson
from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, tuple_

from services.outbox.messages import MessageState
from services.outbox.schema import event, feed, message

CHANNEL = "feed"
#: A consumer that stops for longer must read the messages themselves.
RETENTION_SECONDS = 86_400.0
PRUNE_BATCH = 1_000
READ_BATCH = 50

#: A change as it is written: sequence number or id of the message, state, attempt, cause. The owning service
#: may write further news of a message, under a name that is no state.
Entry = tuple[int | str, str, int, str]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the feed, after the ``number``-th change of a row. Its text is ``tx.row.number``."""

    tx: int = 0
    row: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.tx}.{self.row}.{self.number}"

    @classmethod
    def parse(cls, written: str) -> "Position | None":
        """Returns the position of a text, or None where it is none."""
        parts = written.split(".")
        if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts):  # noqa: PLR2004 - tx.row.number, each within 63 bits
            return None
        return cls(*map(int, parts))


class ChangedMessageRow(TypedDict):
    """A message as it is now, joined with columns of its event. Times are seconds since the epoch."""

    seq: int
    id: str
    event_id: str
    type: str  #: of the event
    bot: str
    chat_id: int
    accepted_at: float
    finished_at: float | None
    attempts: int
    possible_duplicate: bool
    telegram_message_ids: str  #: with commas; empty: none
    title: str
    category: str
    source: str
    severity: str
    client: str  #: name of the API key that posted the event
    correlation_id: str
    traceparent: str
    callback_url: str | None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one message's state.

    Args:
        position: right after the change.
        at: time of the change, seconds since the epoch.
        state: new state.
        attempt: number of the attempt that caused it; 0: none did.
        cause: a reason or a description; may be empty.
        message: row of the message as it is now.
    """

    position: Position
    at: float
    state: str
    attempt: int
    cause: str
    message: ChangedMessageRow


_INSERT = insert(feed)


def write(connection: Connection, entries: Sequence[Entry], now: float) -> None:
    """Writes changes in the transaction that makes them."""
    if entries:
        connection.execute(_INSERT, {"at": now, "changes": orjson.dumps(entries).decode()})


# All transactions below this number have ended.
_HORIZON = text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
_ROWS = (
    select(feed)
    .where(tuple_(feed.c.tx, feed.c.id) >= tuple_(bindparam("tx"), bindparam("row")))
    .where(feed.c.tx < bindparam("horizon"))
    .order_by(feed.c.tx, feed.c.id)
    .limit(bindparam("most"))
)
_LAST = (
    select(feed.c.tx, feed.c.id, feed.c.changes)
    .where(feed.c.tx < bindparam("horizon"))
    .order_by(feed.c.tx.desc(), feed.c.id.desc())
    .limit(1)
)
_FIRST = select(feed.c.tx, feed.c.id).order_by(feed.c.tx, feed.c.id).limit(1)
_NO_HORIZON = 2**62
_MESSAGE = (
    message.c.seq,
    message.c.id,
    message.c.event_id,
    message.c.type,
    message.c.bot,
    message.c.chat_id,
    message.c.accepted_at,
    message.c.finished_at,
    message.c.attempts,
    message.c.possible_duplicate,
    message.c.telegram_message_ids,
    event.c.title,
    event.c.category,
    event.c.source,
    event.c.severity,
    event.c.client,
    event.c.correlation_id,
    event.c.traceparent,
    event.c.callback_url,
)


def _horizon(connection: Connection) -> int:
    if connection.dialect.name != "postgresql":
        return _NO_HORIZON
    return int(connection.execute(_HORIZON).scalar_one())


def end(connection: Connection) -> Position:
    """Returns the position after the last change."""
    last = connection.execute(_LAST, {"horizon": _horizon(connection)}).first()
    return Position(last.tx, last.id, len(_entries(last.changes))) if last else Position()


def covers(connection: Connection, position: Position) -> bool:
    """Returns whether the feed still has every change after the position."""
    first = connection.execute(_FIRST).first()
    if first is None:
        return position == Position()
    # Rows count from 1, so nothing was before the first.
    return first.id == 1 or (first.tx, first.id) <= (position.tx, position.row)


def read(
    connection: Connection,
    after: Position,
    rows: int = READ_BATCH,
    *,
    states: Collection[str] | None = None,
) -> tuple[list[Change], Position]:
    """Returns the changes after a position, and the position after them.

    Changes of a message that was archived meanwhile are left out.

    Args:
        connection: for reading.
        after: position of the consumer.
        rows: transactions to read, at most.
        states: only changes to these states; None: all.
    """
    read, position = entries(connection, after, rows)
    selected = [each for each in read if states is None or each[2][1] in states]
    messages = _messages(connection, [entry[0] for _, _, entry in selected])
    changes = [
        Change(position, at, state, attempt, cause, messages[ref])
        for position, at, (ref, state, attempt, cause) in selected
        if ref in messages
    ]
    return changes, position


def read_ids(
    connection: Connection, after: Position, *, states: Collection[str], rows: int = READ_BATCH
) -> tuple[list[str], Position]:
    """Returns the ids of messages that changed to one of the states after a position, and the next position.

    Cheaper than :func:`read`: nothing else of the messages is read.
    """
    read, position = entries(connection, after, rows)
    refs = {entry[0] for _, _, entry in read if entry[1] in states}
    seqs = sorted(ref for ref in refs if isinstance(ref, int))
    ids = {ref for ref in refs if isinstance(ref, str)}
    for start in range(0, len(seqs), _KEYS_PER_STATEMENT):
        some = message.c.seq.in_(seqs[start : start + _KEYS_PER_STATEMENT])
        ids.update(connection.execute(select(message.c.id).where(some)).scalars())
    return sorted(ids), position


def entries(
    connection: Connection, after: Position, rows: int = READ_BATCH
) -> tuple[list[tuple[Position, float, Entry]], Position]:
    """Returns the changes after a position as written, with their times, and the position after them.

    Unlike :func:`read` it has the changes of archived messages too.

    Args:
        connection: for reading.
        after: position of the consumer.
        rows: transactions to read, at most.
    """
    horizon = _horizon(connection)
    if after.tx > horizon:  # of another cluster, before a restore: see repair_after_restore()
        after = Position(0, after.row, after.number)
    bounds = {"tx": after.tx, "row": after.row, "horizon": horizon, "most": rows + 1}
    read = [
        (position, row.at, cast("Entry", tuple(entry)))
        for row in connection.execute(_ROWS, bounds)
        for number, entry in enumerate(_entries(row.changes), start=1)
        if (position := Position(row.tx, row.id, number)) > after
    ]
    return read, read[-1][0] if read else after


def is_acceptance(entry: Entry) -> bool:
    """Whether a change is the acceptance of a message; a message is queued again by a cause or an attempt."""
    _, state, attempt, cause = entry
    return state == MessageState.QUEUED and not attempt and not cause


def _entries(written: str) -> list[Entry]:
    """The changes of a row. Those that cannot be read are left out: a consumer must not stop at them."""
    try:
        entries = orjson.loads(written)
    except ValueError:
        return []
    return [entry for entry in entries if _is_entry(entry)] if isinstance(entries, list) else []


def _is_entry(value: Any) -> bool:
    match value:
        case [int() | str(), str(), int(), str()]:
            return True
        case _:
            return False


def _messages(connection: Connection, refs: Iterable[int | str]) -> dict[int | str, ChangedMessageRow]:
    """Returns the messages by sequence number or id, whichever the change has."""
    found: dict[int | str, ChangedMessageRow] = {}
    for column in (message.c.seq, message.c.id):
        kind = int if column is message.c.seq else str
        keys = sorted({ref for ref in refs if isinstance(ref, kind)})
        for start in range(0, len(keys), _KEYS_PER_STATEMENT):
            some = column.in_(keys[start : start + _KEYS_PER_STATEMENT])
            query = select(*_MESSAGE).join(event, message.c.event_id == event.c.id).where(some)
            rows = connection.execute(query).mappings()
            found |= {row[column.name]: cast("ChangedMessageRow", row) for row in rows}
    return found


_KEYS_PER_STATEMENT = 1_000


def prune(connection: Connection, before: float) -> int:
    """Deletes up to :data:`PRUNE_BATCH` rows older than ``before``; returns how many.

    The newest row stays, since it marks the end of the feed.
    """
    newest = select(func.max(feed.c.id)).scalar_subquery()
    old = select(feed.c.id).where(feed.c.at < before, feed.c.id < newest).order_by(feed.c.at)
    old = old.limit(PRUNE_BATCH)
    return connection.execute(delete(feed).where(feed.c.id.in_(old))).rowcount


def repair_after_restore(connection: Connection) -> None:
    """Moves all rows before new ones, after a restore into another PostgreSQL cluster.

    Transactions of the new cluster count from lower numbers. The old rows get the number 0, which keeps their
    order, since rows of one transaction are read by their ids.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_REPAIR)


_REPAIR = text("UPDATE feed SET tx = 0 WHERE tx > pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
