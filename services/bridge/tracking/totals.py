"""Totals: how many messages all replicas accepted, and how these ended, since counting began.

The change feed has every change once, in the order of the commits. One row of the database has the counts up
to a position in the feed; a replica adds the changes after it. Now and then a replica writes the sum back, by
compare-and-set on the position: each change is counted once, whichever replicas run, crash or start again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, select, update

from services.bridge.tracking.schema import message_total
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database, upsert
from services.outbox import change_feed
from services.outbox.change_feed import Entry, Position
from services.outbox.messages import MessageState, is_failure

POLL_SECONDS = 1.0
#: The sum is written back after so long, or when so many transactions came after the position.
WRITE_BACK_SECONDS = 10.0
MOST_ROWS = 500
_ID = 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of changes.

    Args:
        accepted: messages accepted.
        delivered: messages delivered.
        failed: messages that ended undelivered (``is_failure``); one that is replayed may count again.
        retries: attempts followed by a retry.
        dead_letters: those of the failed that became dead letters.
        unknown: those of the failed whose outcome is unknown.
    """

    accepted: int = 0
    delivered: int = 0
    failed: int = 0
    retries: int = 0
    dead_letters: int = 0
    unknown: int = 0

    def plus(self, entries: Iterable[Entry]) -> "Totals":
        """Returns the totals with these changes counted."""
        counts = Counter(asdict(self))
        for entry in entries:
            counts.update(_counted_as(entry))
        return Totals(**counts)


def _counted_as(entry: Entry) -> Sequence[str]:
    _, state, attempt, cause = entry
    if change_feed.is_acceptance(entry):
        return ("accepted",)
    if state == MessageState.RETRY_WAIT:
        # Without an attempt it waited before, and quiet hours postpone it.
        return ("retries",) if attempt else ()
    if state == MessageState.DELIVERED:
        return ("delivered",)
    return ("failed", *_FAILED_AS.get(state, ())) if is_failure(state, cause) else ()


_FAILED_AS: Mapping[str, Sequence[str]] = {
    MessageState.DEAD_LETTER: ("dead_letters",),
    MessageState.UNKNOWN: ("unknown",),
}


@dataclass(frozen=True, slots=True)
class Count:
    """Totals up to a position in the change feed.

    Args:
        totals: the counts.
        since: when counting began, seconds since the epoch.
        at: when they were read, seconds since the epoch.
        stored: position of the row that they were read from.
        position: up to which they are counted.
        at_end: whether that was the end of the feed.
    """

    totals: Totals
    since: float
    at: float
    stored: Position
    position: Position
    at_end: bool


def begin(connection: Connection, now: float) -> None:
    """Begins to count at the end of the feed, unless counting has begun."""
    row = upsert(connection, message_total).values(
        id=_ID, since=now, position=str(change_feed.end(connection)), **asdict(Totals())
    )
    connection.execute(row.on_conflict_do_nothing())


def read(connection: Connection, now: float) -> Count:
    """Returns the stored totals with the changes since; of :data:`MOST_ROWS` transactions at most."""
    row = connection.execute(select(message_total)).mappings().one()
    stored = Position.parse(str(row["position"])) or Position()
    found, position = change_feed.entries(connection, stored, MOST_ROWS)
    totals = Totals(**{name: _number(row[name]) for name in asdict(Totals())})
    totals = totals.plus(entry for _, _, entry in found)
    rows = len({(at.tx, at.row) for at, _, _ in found})
    return Count(totals, row["since"], now, stored, position, at_end=rows < MOST_ROWS)


def _number(stored: Any) -> int:
    """A stored count; 0 where the value is none, since SQLite stores any type in any column."""
    return stored if isinstance(stored, int) else 0


def write_back(connection: Connection, count: Count) -> None:
    """Stores the totals; does nothing where another replica has moved the position meanwhile."""
    moved = update(message_total).where(message_total.c.position == str(count.stored))
    connection.execute(moved.values(position=str(count.position), **asdict(count.totals)))


class TotalsCounter:
    """Counts until cancelled.

    Attributes:
        latest: the totals, as counted last; None before the first time.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self.latest: Count | None = None
        self._database = database
        self._clock = clock
        self._written_at = clock.monotonic()

    async def begin(self) -> None:
        """Begins to count: before the service takes an event, since what is taken earlier is not counted."""
        await self._database.write("totals", partial(begin, now=self._clock.time()))

    async def run(self) -> None:
        while True:
            with suppress_and_log("totals_failed"):
                await self.count()
            await asyncio.sleep(POLL_SECONDS)

    async def count(self) -> None:
        """Counts up to the end of the feed, and writes back what is due."""
        at_end = False
        while not at_end:
            count = await self._database.read("totals", partial(read, now=self._clock.time()))
            at_end = count.at_end
            if at_end:
                self.latest = count
            late = self._clock.monotonic() - self._written_at > WRITE_BACK_SECONDS
            if count.position != count.stored and (late or not at_end):
                await self._database.write("totals", partial(write_back, count=count))
                self._written_at = self._clock.monotonic()
