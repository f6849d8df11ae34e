"""Reading: what the API shows of messages. Newest first, keyset pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select

from services.outbox.messages import State
from services.outbox.schema import attempt, change, event, message

#: More correlation ids than this in flight are not counted on.
MOST_CORRELATIONS = 10_000
_DEPTH_STATES = (State.QUEUED, State.SENDING, State.RETRY_WAIT, State.UNKNOWN, State.DEAD_LETTER)
UNFINISHED = (State.QUEUED, State.SENDING, State.RETRY_WAIT)
#: Ended without being delivered, though it was meant to be.
FAILED = (State.DEAD_LETTER, State.UNKNOWN, State.EXPIRED)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; None is any.

    Args:
        since: accepted at or after, seconds since the epoch.
        until: accepted before.
        text: part of the title, whatever its case.
        before: sequence number of the last message of the page before.
        limit: messages a page.
    """

    states: Sequence[str] = ()
    type: str | None = None
    chat_id: int | None = None
    correlation_id: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    before: int | None = None
    limit: int = 50


_COLUMNS = (
    message,
    event.c.category,
    event.c.title,
    event.c.source,
    event.c.severity,
    event.c.correlation_id,
    event.c.traceparent,
    event.c.written_at,
)


def search(connection: Connection, wanted: Search) -> list[Any]:
    """The messages that fit, as rows of message and event."""
    query: Select[Any] = select(*_COLUMNS).join(event, message.c.event_id == event.c.id)
    if wanted.states:
        query = query.where(message.c.state.in_(list(wanted.states)))
    for column, value in (
        (message.c.type, wanted.type),
        (message.c.chat_id, wanted.chat_id),
        (event.c.correlation_id, wanted.correlation_id),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.since is not None:
        query = query.where(message.c.accepted_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(message.c.accepted_at < wanted.until)
    if wanted.text:
        query = query.where(event.c.title.icontains(wanted.text, autoescape=True))
    if wanted.before is not None:
        query = query.where(message.c.seq < wanted.before)
    return list(connection.execute(query.order_by(message.c.seq.desc()).limit(wanted.limit)).mappings())


@dataclass(frozen=True, slots=True)
class Life:
    """All that is known of one message."""

    message: Any
    attempts: list[Any]
    changes: list[Any]


def life(connection: Connection, message_id: str) -> Life | None:
    """A message with its attempts and its other changes, or None."""
    query = select(*_COLUMNS, event.c.body).join(event, message.c.event_id == event.c.id)
    row = connection.execute(query.where(message.c.id == message_id)).mappings().first()
    if row is None:
        return None
    attempts = select(attempt).where(attempt.c.message_seq == row["seq"]).order_by(attempt.c.number)
    changes = select(change).where(change.c.message_seq == row["seq"]).order_by(change.c.id)
    return Life(
        row,
        list(connection.execute(attempts).mappings()),
        list(connection.execute(changes).mappings()),
    )


def by_telegram_id(connection: Connection, bot: str, chat_id: int, telegram_message_id: int) -> Any | None:
    """The message that stands in the chat under this id, or None; of its edits, the one that was sent."""
    query = (
        select(*_COLUMNS)
        .join(event, message.c.event_id == event.c.id)
        .join(attempt, attempt.c.message_seq == message.c.seq)
        .where(
            attempt.c.telegram_message_id == telegram_message_id,
            message.c.bot == bot,
            message.c.chat_id == chat_id,
        )
        .order_by(message.c.seq)
        .limit(1)
    )
    return connection.execute(query).mappings().first()


def event_with_messages(connection: Connection, event_id: str) -> tuple[Any, list[Any]] | None:
    """An event and its messages, or None."""
    row = connection.execute(select(event).where(event.c.id == event_id)).mappings().first()
    if row is None:
        return None
    query = select(*_COLUMNS).join(event, message.c.event_id == event.c.id)
    messages = connection.execute(query.where(message.c.event_id == event_id).order_by(message.c.seq))
    return row, list(messages.mappings())


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue at one moment.

    Args:
        by_state: messages in each state that waits for something.
        oldest: when the oldest unfinished message was accepted.
        correlations: correlation ids with unfinished messages, up to :data:`MOST_CORRELATIONS`.
    """

    by_state: dict[str, int]
    oldest: float | None
    correlations: int


_OLDEST = (
    select(message.c.accepted_at)
    .where(message.c.state == bindparam("state"), message.c.replayed_at.is_(None))
    .order_by(message.c.seq)
    .limit(1)
)
# A message that was put back waits since then.
_REPLAYED = (
    select(message.c.replayed_at)
    .where(message.c.replayed_at.is_not(None), message.c.finished_at.is_(None))
    .order_by(message.c.replayed_at)
    .limit(1)
)


def depth(connection: Connection) -> Depth:
    """Counts what is not finished; by one index, whatever the number of finished messages."""
    counted = select(message.c.state, func.count()).where(
        message.c.state.in_([s.value for s in _DEPTH_STATES])
    )
    counts = {row[0]: row[1] for row in connection.execute(counted.group_by(message.c.state))}
    first = [connection.execute(_OLDEST, {"state": state.value}).scalar() for state in UNFINISHED]
    first.append(connection.execute(_REPLAYED).scalar())
    some = (
        select(event.c.correlation_id)
        .join(message, message.c.event_id == event.c.id)
        .where(message.c.state.in_([s.value for s in UNFINISHED]), event.c.correlation_id != "")
        .limit(MOST_CORRELATIONS)
        .subquery()
    )
    correlations = connection.execute(select(func.count(some.c.correlation_id.distinct()))).scalar_one()
    return Depth(
        {state.value: counts.get(state.value, 0) for state in _DEPTH_STATES},
        min((at for at in first if at is not None), default=None),
        correlations,
    )


def finished_since(connection: Connection, since: float) -> list[tuple[int, int, int]]:
    """(second, delivered, failed) of what finished, oldest first."""
    second = func.floor(message.c.finished_at).label("second")
    delivered = func.sum(case((message.c.state == State.DELIVERED.value, 1), else_=0))
    failing = [state.value for state in FAILED]
    failed = func.sum(case((message.c.state.in_(failing), 1), else_=0))
    query = select(second, delivered, failed).where(message.c.finished_at >= since)
    rows = connection.execute(query.group_by(second).order_by(second))
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]
