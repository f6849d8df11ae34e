"""Depth: how much waits, since when, and for whom nobody sends."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection, func, literal_column, select, true

from services.outbox.messages import COUNTED, SCHEDULED, MessageState
from services.outbox.queries.message_queries import UNFINISHED
from services.outbox.schema import attempt, chat, event, in_state, message

#: More correlation ids than this in flight are not counted on.
MOST_CORRELATIONS = 10_000


@dataclass(frozen=True, slots=True)
class Depth:
    """The queue at one moment.

    Args:
        by_state: messages in each state that waits for something. Queued ones whose time has not come, an
            appointed one or the end of quiet hours, are no backlog, and told as scheduled.
        oldest: since when the message has waited that has waited longest; one that has a time, since then.
        correlations: correlation ids with unfinished messages, up to :data:`MOST_CORRELATIONS`.
    """

    by_state: dict[str, int]
    oldest: float | None
    correlations: int

    @property
    def waiting(self) -> int:
        """Messages that could go, or are under way."""
        return sum(self.by_state[state.value] for state in UNFINISHED)


def depth(connection: Connection, now: float) -> Depth:
    """Counts what is not finished; by few indexes, whatever the number of finished messages.

    Args:
        connection: for reading.
        now: seconds since the epoch.
    """
    counted = select(message.c.state, func.count()).where(message.c.state.in_([s.value for s in COUNTED]))
    counts = {row[0]: row[1] for row in connection.execute(counted.group_by(message.c.state))}
    by_state = {state.value: counts.get(state.value, 0) for state in COUNTED}
    ahead = select(func.count()).select_from(message).where(*_TIMED, message.c.due_at > now)
    scheduled = min(connection.execute(ahead).scalar_one(), by_state[MessageState.QUEUED])
    by_state[MessageState.QUEUED.value] -= scheduled
    return Depth(by_state | {SCHEDULED: scheduled}, _oldest(connection, now), _correlations(connection))


# Literals, for the partial index; "IS TRUE", so that SQLite does not look through all that is queued instead.
_TIMED = (message.c.due_at > literal_column("0"), in_state(MessageState.QUEUED).is_(true()))
_FIRST_COME = (
    select(message.c.accepted_at)
    .where(
        in_state(MessageState.QUEUED),
        message.c.due_at <= literal_column("0"),
        message.c.replayed_at.is_(None),
    )
    .order_by(message.c.seq)
    .limit(1)
)
# What was tried waits since its first try: until then it may have had a time.
_TRIED = [
    select(attempt.c.claimed_at)
    .join(message, attempt.c.message_seq == message.c.seq)
    .where(in_state(state), message.c.replayed_at.is_(None), attempt.c.number == 1)
    .order_by(message.c.seq)
    .limit(1)
    for state in (MessageState.SENDING, MessageState.RETRY_WAIT)
]
# A message that was put back waits since then.
_REPLAYED = (
    select(message.c.replayed_at)
    .where(message.c.replayed_at.is_not(None), message.c.finished_at.is_(None))
    .order_by(message.c.replayed_at)
    .limit(1)
)


def _oldest(connection: Connection, now: float) -> float | None:
    overdue = select(func.min(message.c.due_at)).where(*_TIMED, message.c.due_at <= now)
    first = [connection.execute(query).scalar() for query in (_FIRST_COME, overdue, *_TRIED, _REPLAYED)]
    return min((at for at in first if at is not None), default=None)


def _correlations(connection: Connection) -> int:
    some = (
        select(event.c.correlation_id)
        .join(message, message.c.event_id == event.c.id)
        .where(message.c.state.in_([s.value for s in UNFINISHED]), event.c.correlation_id != "")
        .limit(MOST_CORRELATIONS)
        .subquery()
    )
    return connection.execute(select(func.count(some.c.correlation_id.distinct()))).scalar_one()


def unknown_bots(connection: Connection, known: Collection[str]) -> dict[str, int]:
    """Chats by bot in which something waits for a bot that nobody sends for.

    Between the known names in the index, so that it walks nothing of a long queue of theirs.
    """
    found: dict[str, int] = {}
    waits = (chat.c.next_at.is_not(None), chat.c.bot.not_in(known))
    for low, high in pairwise((None, *sorted(known), None)):
        query = select(chat.c.bot, func.count()).where(*waits).group_by(chat.c.bot)
        if low is not None:
            query = query.where(chat.c.bot > low)
        if high is not None:
            query = query.where(chat.c.bot < high)
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found
