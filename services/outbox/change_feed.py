"""Feed: every change of a message's state, in the order of the commits, for those who follow along.

A transaction that changes states writes one row that tells all of them, whatever their number: so
the record costs next to nothing, and is there exactly when the changes are. Who follows keeps a
position and reads on from it; nothing is missed, nothing comes twice, and no broker is needed.

On PostgreSQL a transaction with a lower number may commit after one with a higher. Rows are
therefore read in the order of their transactions, and only those before the oldest one under way.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, bindparam, delete, func, insert, select, text, tuple_

from services.outbox.schema import event, feed, message

CHANNEL = "feed"
#: Who was away for longer has to look at the messages themselves.
KEEP_SECONDS = 86_400.0
PRUNED_AT_ONCE = 1_000
ROWS_AT_ONCE = 50

#: A change as it is written: number or id of the message, state, attempt, cause.
Entry = tuple[int | str, str, int, str]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the feed: after the ``number``-th change of a row; as text ``tx.row.number``."""

    tx: int = 0
    row: int = 0
    number: int = 0

    def __str__(self) -> str:
        return f"{self.tx}.{self.row}.{self.number}"

    @classmethod
    def parse(cls, written: str) -> "Position | None":
        """None for what is no position."""
        parts = written.split(".")
        if len(parts) != 3 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts):  # noqa: PLR2004 - tx.row.number, each within 63 bits
            return None
        return cls(*map(int, parts))


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one message's state.

    Args:
        position: right after it.
        at: when, seconds since the epoch.
        state: the new one.
        attempt: number of the attempt that it belongs to; 0 is none.
        cause: a reason, or what happened, or empty.
        message: row of the message and its event.
    """

    position: Position
    at: float
    state: str
    attempt: int
    cause: str
    message: Any


_INSERT = insert(feed)


def write(connection: Connection, entries: Sequence[Entry], now: float) -> None:
    """Notes changes in the transaction that makes them."""
    if entries:
        connection.execute(_INSERT, {"at": now, "changes": orjson.dumps(entries).decode()})


# Transactions below this number are over.
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
    """Where the feed ends now."""
    last = connection.execute(_LAST, {"horizon": _horizon(connection)}).first()
    return Position(last.tx, last.id, len(orjson.loads(last.changes))) if last else Position()


def has(connection: Connection, position: Position) -> bool:
    """Whether everything after the position is still kept."""
    first = connection.execute(_FIRST).first()
    if first is None:
        return position == Position()
    # Rows count from 1: nothing was ever before that one.
    return first.id == 1 or (first.tx, first.id) <= (position.tx, position.row)


def read(
    connection: Connection,
    after: Position,
    rows: int = ROWS_AT_ONCE,
    *,
    states: Collection[str] | None = None,
) -> tuple[list[Change], Position]:
    """The changes after a position, of so many transactions at most, and the position after them.

    A message that was archived meanwhile is passed over.

    Args:
        connection: for reading.
        after: a position.
        rows: transactions at most.
        states: only the changes to these.
    """
    horizon = _horizon(connection)
    if after.tx > horizon:  # of another cluster, before a restore: see mend()
        after = Position(0, after.row, after.number)
    wanted = {"tx": after.tx, "row": after.row, "horizon": horizon, "most": rows + 1}
    found = connection.execute(_ROWS, wanted).all()
    told = [
        (Position(row.tx, row.id, number), row.at, entry)
        for row in found
        for number, entry in enumerate(orjson.loads(row.changes), start=1)
        if Position(row.tx, row.id, number) > after
    ]
    wished = [one for one in told if states is None or one[2][1] in states]
    messages = _messages(connection, [entry[0] for _, _, entry in wished])
    changes = [
        Change(position, at, state, attempt, cause, messages[ref])
        for position, at, (ref, state, attempt, cause) in wished
        if ref in messages
    ]
    return changes, told[-1][0] if told else after


def _messages(connection: Connection, refs: Iterable[int | str]) -> dict[int | str, Any]:
    """The messages by what they are called, a bounded number in a statement."""
    known: dict[int | str, Any] = {}
    for column in (message.c.seq, message.c.id):
        kind = int if column is message.c.seq else str
        wanted = sorted({ref for ref in refs if isinstance(ref, kind)})
        for start in range(0, len(wanted), _PER_STATEMENT):
            some = column.in_(wanted[start : start + _PER_STATEMENT])
            query = select(*_MESSAGE).join(event, message.c.event_id == event.c.id).where(some)
            known |= {row[column.name]: row for row in connection.execute(query).mappings()}
    return known


_PER_STATEMENT = 1_000


def prune(connection: Connection, before: float) -> int:
    """Deletes a portion of what is older; answers how many rows. The newest row stays: it marks the end."""
    newest = select(func.max(feed.c.id)).scalar_subquery()
    old = select(feed.c.id).where(feed.c.at < before, feed.c.id < newest).order_by(feed.c.at)
    old = old.limit(PRUNED_AT_ONCE)
    return connection.execute(delete(feed).where(feed.c.id.in_(old))).rowcount


def mend(connection: Connection) -> None:
    """After a restore into another PostgreSQL cluster its transactions count from lower numbers again.

    What was written before then comes before all that is to come, in the order of the rows.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_MEND)


_MEND = text("UPDATE feed SET tx = 0 WHERE tx > pg_snapshot_xmax(pg_current_snapshot())::text::bigint")
