"""Search of messages by their properties, in keyset pages, newest first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

from sqlalchemy import JSON, Connection, Select, case, func, literal_column, select

from services.outbox.chats import chat_state
from services.outbox.queries.message_rows import MESSAGE_COLUMNS, MessageRow
from services.outbox.schema import DEFAULT_BOT, event, message

#: A page reads at most so many messages for a part of a title or a campaign.
MOST_TITLES = 100_000
#: Messages that may be accepted before another one and committed after it, at most.
MOST_OVERTAKEN = 10_000


@dataclass(frozen=True, slots=True)
class Search:
    """Criteria of a search; a message must meet all. None and empty mean any.

    Args:
        states: of the message.
        reasons: why the last attempt failed, or why the message ended without one.
        type: of the event.
        chat_id: of the recipient; for a group that became a supergroup, messages of both ids match.
        since: accepted at or after, seconds since the epoch.
        until: accepted before.
        text: part of the title, in any case.
        campaign: ``campaign_id`` of the event, which only its body has.
        before: sequence number of the last message of the previous page.
        limit: messages of a page.
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


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search.

    Args:
        rows: newest first.
        cursor: ``before`` of the next page; None on the last.
    """

    rows: list[MessageRow]
    cursor: int | None


def search(connection: Connection, criteria: Search) -> Page:
    """Returns a page of the messages that match.

    No index has parts of titles or campaigns, so such a page reads at most :data:`MOST_TITLES` messages. It
    may have fewer rows than ``limit``, or none, and a cursor all the same.
    """
    within = _extent(connection, criteria)
    if within is None:
        return Page([], None)
    first, end = within
    floor = first
    if criteria.text or criteria.campaign:
        end = newest_seq(connection) + 1 if end is None else end
        floor = max(first, end - MOST_TITLES)
    query = (
        select(*MESSAGE_COLUMNS).join(event, message.c.event_id == event.c.id).order_by(message.c.seq.desc())
    )
    if criteria.campaign:
        query = query.where(_campaign(connection) == criteria.campaign)
    rows = _of_each_state(connection, _between(query, floor, end), criteria)
    rows = sorted(rows, key=itemgetter("seq"), reverse=True)[: criteria.limit]
    if len(rows) == criteria.limit:
        return Page(rows, rows[-1]["seq"])
    return Page(rows, floor if floor > first else None)


def _of_each_state(connection: Connection, ordered: Select[Any], criteria: Search) -> list[Any]:
    """Returns the first rows that match, up to ``limit`` of each state.

    The index is ordered within one state only: a query of several states would make SQLite scan all messages
    or sort all matches. For one chat its own index serves, whatever the states.
    """
    searches = _of_each_id(connection, criteria)
    if criteria.chat_id is None and criteria.states:
        searches = [replace(criteria, states=(state,)) for state in dict.fromkeys(criteria.states)]
    return [
        row
        for one in searches
        for row in connection.execute(_matching(ordered, one).limit(criteria.limit)).mappings()
    ]


def _of_each_id(connection: Connection, criteria: Search) -> list[Search]:
    """A search for each id that the chat has had: its messages stay under the one that they were sent to."""
    if criteria.chat_id is None:
        return [criteria]
    ids = chat_state.ids_of(connection, criteria.chat_id, criteria.bot)
    return [replace(criteria, chat_id=chat_id) for chat_id in ids]


def _campaign(connection: Connection) -> Any:
    """SQL: the campaign of an event, from its body."""
    body = event.c.body
    if connection.dialect.name == "postgresql":
        # It parses the whole body, and would fail at a NUL. Version 15 cannot say whether a text is JSON.
        parsed = func.replace(body, "\\u0000", "\\ufffd").cast(JSON)["campaign_id"].as_string()
        return case((body.like('{%"campaign_id"%}'), parsed))
    return case((func.json_valid(body) == 1, func.json_extract(body, "$.campaign_id")))


def _between(query: Select[Any], first: int, end: int | None) -> Select[Any]:
    """Adds only the bounds that exist: a needless one keeps SQLite from a better index."""
    if first > 1:
        query = query.where(message.c.seq >= first)
    return query if end is None else query.where(message.c.seq < end)


def _extent(connection: Connection, criteria: Search) -> tuple[int, int | None] | None:
    """Returns the lowest sequence number that can match and the end of the range, if any; None if none can.

    Sequence numbers follow the order of the commits, which is nearly that of acceptance. The index of the
    times gives the range, with a margin of :data:`MOST_OVERTAKEN` messages, so the search reads no further.
    """
    first, end = 1, criteria.before
    if criteria.since is not None:
        near = select(message.c.seq).where(message.c.accepted_at >= criteria.since)
        some = near.order_by(message.c.accepted_at).limit(MOST_OVERTAKEN).subquery()
        lowest = connection.execute(select(func.min(some.c.seq))).scalar()
        if lowest is None:
            return None
        first = lowest
    if criteria.until is not None:
        near = select(message.c.seq).where(message.c.accepted_at < criteria.until)
        some = near.order_by(message.c.accepted_at.desc()).limit(MOST_OVERTAKEN).subquery()
        highest = connection.execute(select(func.max(some.c.seq))).scalar()
        if highest is None:
            return None
        end = highest + 1 if end is None else min(end, highest + 1)
    return first, end


def _matching(query: Select[Any], criteria: Search) -> Select[Any]:
    """Adds the conditions of the search, except those of the page."""
    if criteria.states:
        query = query.where(message.c.state.in_(list(criteria.states)))
    if criteria.reasons:
        query = query.where(message.c.reason.in_(list(criteria.reasons)))
    for column, value in (
        (message.c.type, criteria.type),
        (message.c.chat_id, criteria.chat_id),
        (message.c.bot, criteria.bot),
    ):
        if value is not None:
            query = query.where(column == value)
    if criteria.bot is not None and criteria.bot != DEFAULT_BOT:
        # Repeated for the planner: the index leaves out the default bot.
        query = query.where(message.c.bot != literal_column(f"'{DEFAULT_BOT}'"))
    if criteria.correlation_id is not None:
        query = query.where(message.c.seq.in_(_seqs_of(criteria.correlation_id)))
    if criteria.since is not None:
        query = query.where(message.c.accepted_at >= criteria.since)
    if criteria.until is not None:
        query = query.where(message.c.accepted_at < criteria.until)
    if criteria.text:
        query = query.where(_TITLE.icontains(criteria.text, autoescape=True))
    return query


_titled = event.alias()
# A subquery for each message: in a join, PostgreSQL would scan the titles of all events first.
_TITLE = select(_titled.c.title).where(_titled.c.id == message.c.event_id).scalar_subquery()


def _seqs_of(correlation_id: str) -> Select[Any]:
    """A subquery of sequence numbers, so that the few messages of the id are read first."""
    of, its = message.alias("of"), event.alias("its")
    return select(of.c.seq).join(its, of.c.event_id == its.c.id).where(its.c.correlation_id == correlation_id)


def count(connection: Connection, criteria: Search) -> int:
    """Counts the messages that match."""
    number = select(func.count()).select_from(message)
    searches = _of_each_id(connection, criteria)
    return sum(int(connection.execute(_matching(number, one)).scalar_one()) for one in searches)


def matching(connection: Connection, criteria: Search, *, after: int, upto: int, before: float) -> list[int]:
    """Returns sequence numbers of messages that match, oldest first, for work in portions.

    Args:
        connection: for reading.
        criteria: ``limit`` is the size of a portion.
        after: last number of the previous portion.
        upto: highest number of all portions.
        before: the messages finished at or before this time.
    """
    query = select(message.c.seq).where(
        message.c.seq > after, message.c.seq <= upto, message.c.finished_at <= before
    )
    rows = _of_each_state(connection, query.order_by(message.c.seq), criteria)
    return sorted(map(itemgetter("seq"), rows))[: criteria.limit]


def newest_seq(connection: Connection) -> int:
    """Returns the sequence number of the newest message; 0 where there is none."""
    return connection.execute(select(func.max(message.c.seq))).scalar() or 0
