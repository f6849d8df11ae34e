"""Reading: what the API shows of messages. Newest first, keyset pages."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection, Select, case, func, literal_column, select

from services.outbox.messages import MessageState
from services.outbox.schema import DEFAULT_BOT, attempt, change, event, message

#: A page looks at the titles of so many messages at most.
MOST_TITLES = 100_000
#: So many messages may be accepted before another one and be committed after it.
OVERTAKEN = 10_000
UNFINISHED = (MessageState.QUEUED, MessageState.SENDING, MessageState.RETRY_WAIT)
#: Ended without being delivered, though it was meant to be.
FAILED = (MessageState.DEAD_LETTER, MessageState.UNKNOWN, MessageState.EXPIRED)


@dataclass(frozen=True, slots=True)
class Search:
    """What to look for; None is any.

    Args:
        reasons: why the last attempt failed, or the message ended without one.
        since: accepted at or after, seconds since the epoch.
        until: accepted before.
        text: part of the title, whatever its case.
        campaign: the event's ``campaign_id``, which is in its body alone.
        before: sequence number of the last message of the page before.
        limit: messages a page.
    """

    states: Sequence[str] = ()
    reasons: Sequence[str] = ()
    type: str | None = None
    chat_id: int | None = None
    bot: str | None = None
    correlation_id: str | None = None
    since: float | None = None
    until: float | None = None
    text: str | None = None
    campaign: str | None = None
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


@dataclass(frozen=True, slots=True)
class Page:
    """Messages that fit, newest first, as rows of message and event.

    Args:
        rows: of this page.
        cursor: ``before`` of the next page; None where this is the last.
    """

    rows: list[Any]
    cursor: int | None


def search(connection: Connection, wanted: Search) -> Page:
    """A page of the messages that fit.

    A part of a title and a campaign are in no index: a page looks at a bounded number of messages. It
    may then have fewer rows than asked for, also none, and a cursor that goes on.
    """
    within = _extent(connection, wanted)
    if within is None:
        return Page([], None)
    first, end = within
    floor = first
    if wanted.text or wanted.campaign:
        end = last(connection) + 1 if end is None else end
        floor = max(first, end - MOST_TITLES)
    query = select(*_COLUMNS).join(event, message.c.event_id == event.c.id).order_by(message.c.seq.desc())
    if wanted.campaign:
        query = query.where(_campaign(connection) == wanted.campaign)
    rows = _of_each_state(connection, _between(query, floor, end), wanted)
    rows = sorted(rows, key=itemgetter("seq"), reverse=True)[: wanted.limit]
    if len(rows) == wanted.limit:
        return Page(rows, rows[-1]["seq"])
    return Page(rows, floor if floor > first else None)


def _of_each_state(connection: Connection, ordered: Select[Any], wanted: Search) -> list[Any]:
    """The first rows that fit, of each of the states by itself.

    Their index has the order of the numbers within one state alone: for several at once SQLite would
    walk all messages, or sort all that fit. A chat's messages it walks once, whatever their states.
    """
    if wanted.chat_id is not None or not wanted.states:
        searches = [wanted]
    else:
        searches = [replace(wanted, states=(state,)) for state in dict.fromkeys(wanted.states)]
    return [
        row
        for one in searches
        for row in connection.execute(_fitting(ordered, one).limit(wanted.limit)).mappings()
    ]


def _campaign(connection: Connection) -> Any:
    """The campaign of an event, out of its body."""
    if connection.dialect.name == "postgresql":
        # It reads all texts of the body on the way, and would stop at a NUL.
        return func.replace(event.c.body, "\\u0000", "\\ufffd").cast(JSON)["campaign_id"].as_string()
    return func.json_extract(event.c.body, "$.campaign_id")


def _between(query: Select[Any], first: int, end: int | None) -> Select[Any]:
    """Only the bounds that there are: for a needless one SQLite leaves a better index alone."""
    if first > 1:
        query = query.where(message.c.seq >= first)
    return query if end is None else query.where(message.c.seq < end)


def _extent(connection: Connection, wanted: Search) -> tuple[int, int | None] | None:
    """The lowest number that can fit and the one after the highest, if any; None where none can.

    Numbers are given in the order of the commits, which is nearly that of acceptance: the times are
    looked up in their index, with room for so many messages that were overtaken, and the search walks
    no further than that.
    """
    first, end = 1, wanted.before
    if wanted.since is not None:
        near = select(message.c.seq).where(message.c.accepted_at >= wanted.since)
        some = near.order_by(message.c.accepted_at).limit(OVERTAKEN).subquery()
        lowest = connection.execute(select(func.min(some.c.seq))).scalar()
        if lowest is None:
            return None
        first = lowest
    if wanted.until is not None:
        near = select(message.c.seq).where(message.c.accepted_at < wanted.until)
        some = near.order_by(message.c.accepted_at.desc()).limit(OVERTAKEN).subquery()
        highest = connection.execute(select(func.max(some.c.seq))).scalar()
        if highest is None:
            return None
        end = highest + 1 if end is None else min(end, highest + 1)
    return first, end


def _fitting(query: Select[Any], wanted: Search) -> Select[Any]:
    """The query of messages and events, with all conditions but those of the page."""
    if wanted.states:
        query = query.where(message.c.state.in_(list(wanted.states)))
    if wanted.reasons:
        query = query.where(message.c.reason.in_(list(wanted.reasons)))
    for column, value in (
        (message.c.type, wanted.type),
        (message.c.chat_id, wanted.chat_id),
        (message.c.bot, wanted.bot),
    ):
        if value is not None:
            query = query.where(column == value)
    if wanted.bot is not None and wanted.bot != DEFAULT_BOT:
        # Said once more, for the index that leaves out the default bot.
        query = query.where(message.c.bot != literal_column(f"'{DEFAULT_BOT}'"))
    if wanted.correlation_id is not None:
        query = query.where(message.c.seq.in_(_under(wanted.correlation_id)))
    if wanted.since is not None:
        query = query.where(message.c.accepted_at >= wanted.since)
    if wanted.until is not None:
        query = query.where(message.c.accepted_at < wanted.until)
    if wanted.text:
        query = query.where(_TITLE.icontains(wanted.text, autoescape=True))
    return query


_its = event.alias()
# Looked up for each message: joined, PostgreSQL would look through the titles of all events first.
_TITLE = select(_its.c.title).where(_its.c.id == message.c.event_id).scalar_subquery()


def _under(correlation_id: str) -> Select[Any]:
    """As a set of numbers: the few messages of an id are then looked at first, whatever else is wanted."""
    of, its = message.alias("of"), event.alias("its")
    return select(of.c.seq).join(its, of.c.event_id == its.c.id).where(its.c.correlation_id == correlation_id)


def count(connection: Connection, wanted: Search) -> int:
    """How many messages fit."""
    query = _fitting(select(func.count()).select_from(message), wanted)
    return int(connection.execute(query).scalar_one())


def matching(connection: Connection, wanted: Search, *, after: int, upto: int, before: float) -> list[int]:
    """Numbers of messages that fit, oldest first, to work through in portions.

    Args:
        connection: for reading.
        wanted: ``limit`` is the size of a portion.
        after: number of the last one of the portion before.
        upto: number of the last one at all.
        before: finished before this time.
    """
    query = select(message.c.seq).where(
        message.c.seq > after, message.c.seq <= upto, message.c.finished_at <= before
    )
    rows = _of_each_state(connection, query.order_by(message.c.seq), wanted)
    return sorted(map(itemgetter("seq"), rows))[: wanted.limit]


def last(connection: Connection) -> int:
    """Number of the newest message; 0 where there is none."""
    return connection.execute(select(func.max(message.c.seq))).scalar() or 0


def last_attempts(connection: Connection, seqs: Sequence[int]) -> dict[int, Any]:
    """The last attempt of each message, by its number."""
    query = (
        select(attempt)
        .join(message, message.c.seq == attempt.c.message_seq)
        .where(message.c.seq.in_(seqs), attempt.c.number == message.c.attempts)
    )
    return {row["message_seq"]: row for row in connection.execute(query).mappings()}


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


def lives(connection: Connection, seqs: Sequence[int], *, with_body: bool = False) -> list[Life]:
    """Messages with their attempts and other changes, in the order of acceptance; a few statements.

    Args:
        connection: for reading.
        seqs: numbers of the messages, a bounded number of them.
        with_body: also the events as they were posted, and by whom.
    """
    columns = (*_COLUMNS, event.c.body, event.c.client) if with_body else _COLUMNS
    query = select(*columns).join(event, message.c.event_id == event.c.id)
    rows = connection.execute(query.where(message.c.seq.in_(seqs)).order_by(message.c.seq)).mappings()
    found = {row["seq"]: Life(row, [], []) for row in rows}
    attempts = select(attempt).where(attempt.c.message_seq.in_(seqs)).order_by(attempt.c.number)
    for row in connection.execute(attempts).mappings():
        found[row["message_seq"]].attempts.append(row)
    changes = select(change).where(change.c.message_seq.in_(seqs)).order_by(change.c.id)
    for row in connection.execute(changes).mappings():
        found[row["message_seq"]].changes.append(row)
    return list(found.values())


def of_correlation(
    connection: Connection, correlation_id: str, most: int
) -> tuple[list[Any], list[Life], bool]:
    """The events and messages under a correlation id, oldest first, and whether these are all."""
    query = select(event).where(event.c.correlation_id == correlation_id)
    events = list(connection.execute(query.order_by(event.c.id).limit(most)).mappings())
    of_these = message.c.event_id.in_([row["id"] for row in events])
    numbers = select(message.c.seq).where(of_these).order_by(message.c.seq).limit(most + 1)
    seqs = connection.execute(numbers).scalars().all()
    whole = len(events) < most and len(seqs) <= most
    return events, lives(connection, seqs[:most]), whole


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


def finished_since(connection: Connection, since: float) -> list[tuple[int, int, int]]:
    """(second, delivered, failed) of what finished, oldest first."""
    second = func.floor(message.c.finished_at).label("second")
    delivered = func.sum(case((message.c.state == MessageState.DELIVERED.value, 1), else_=0))
    failing = [state.value for state in FAILED]
    failed = func.sum(case((message.c.state.in_(failing), 1), else_=0))
    query = select(second, delivered, failed).where(message.c.finished_at >= since)
    rows = connection.execute(query.group_by(second).order_by(second))
    return [(int(row[0]), int(row[1]), int(row[2])) for row in rows]
