"""Queue depth: how many messages wait, and since when."""

from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import Connection, func, literal_column, select, true

from services.outbox.messages import COUNTED, SCHEDULED, UNFINISHED, MessageState
from services.outbox.schema import chat, event, in_state, message

#: The most correlation ids that are counted.
MOST_CORRELATIONS = 10_000


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The queue at one moment.

    Args:
        by_state: number of messages by state. Queued messages whose time is in the future (``deliver_at``,
            the end of quiet hours) are no backlog; they count as ``scheduled``.
        oldest: when the oldest waiting message became due, seconds since the epoch; None when none waits.
        correlations: correlation ids with unfinished messages, up to :data:`MOST_CORRELATIONS`.
    """

    by_state: dict[str, int]
    oldest: float | None
    correlations: int

    @property
    def waiting(self) -> int:
        """Messages that are due or being sent."""
        return sum(self.by_state[state.value] for state in UNFINISHED)


def measure(connection: Connection, now: float) -> QueueDepth:
    """Counts unfinished messages by indexes that finished messages do not lengthen.

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
    return QueueDepth(by_state | {SCHEDULED: scheduled}, _oldest(connection, now), _correlations(connection))


# Literals, for the partial index; "IS TRUE", so that SQLite does not look through all that is queued instead.
_TIMED = (message.c.due_at > literal_column("0"), in_state(MessageState.QUEUED).is_(true()))
# Most messages wait from their acceptance, in the order of their numbers.
_FIRST_COME = [
    select(message.c.accepted_at)
    .where(in_state(state), message.c.waits_from.is_(None), message.c.replayed_at.is_(None))
    .order_by(message.c.seq)
    .limit(1)
    for state in UNFINISHED
]
# One with a time waits from then on, also after an attempt.
_WAITS_FROM = (
    select(message.c.waits_from)
    .where(
        message.c.waits_from.is_not(None), message.c.finished_at.is_(None), message.c.replayed_at.is_(None)
    )
    .order_by(message.c.waits_from)
    .limit(1)
)
# A replayed message has waited since its replay.
_REPLAYED = (
    select(message.c.replayed_at)
    .where(message.c.replayed_at.is_not(None), message.c.finished_at.is_(None))
    .order_by(message.c.replayed_at)
    .limit(1)
)


def _oldest(connection: Connection, now: float) -> float | None:
    overdue = _WAITS_FROM.where(message.c.waits_from <= now)
    first = [connection.execute(query).scalar() for query in (*_FIRST_COME, overdue, _REPLAYED)]
    # SQLite stores any type in any column: one odd value must not end the measuring.
    return min((at for at in first if isinstance(at, int | float)), default=None)


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
    """Counts the chats with messages of bots that this process does not know, by bot.

    It reads the index between the known names, so the queues of known bots cost nothing.
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
