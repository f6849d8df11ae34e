"""Kept: of the traces that are not sampled, those of slow and of failed messages, told at their end.

All that is needed is stored with the message, but for one thing: when the commit of its event was
over. A transaction cannot hold that, so it is remembered here, for as long as there is room; where
it is not known (another process took the event in) the span ends when the rows were handed to the
disk, and says so.
"""

import asyncio
from collections import OrderedDict
from functools import partial

import structlog
from sqlalchemy import Connection

from services.kit.db import Database
from services.kit.errors import Problem
from services.kit.telemetry import Telemetry
from services.outbox import queries, trace
from services.outbox.messages import NewEvent, Reason, Settled, State
from services.outbox.queries import Life

log = structlog.get_logger()

SLOW_SECONDS = 5.0
_REMEMBERED = 20_000
#: More than this waiting to be told are let go: telling must not become a queue of its own.
_MOST_WAITING = 5_000
_AT_ONCE = 50
_FAILED = (*queries.FAILED, State.SUPPRESSED)


class Keeper:
    """Decides at a message's end whether its trace is told after all."""

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry
        self._committed: OrderedDict[str, float] = OrderedDict()
        self._told_events: OrderedDict[str, None] = OrderedDict()
        self._waiting: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)

    def accepted(self, event: NewEvent, committed_at: float) -> None:
        """Remembers when an event was durable, should its trace be told later."""
        if event.trace.sampled or not self._telemetry.exports_spans:
            return
        self._committed[event.id] = committed_at
        if len(self._committed) > _REMEMBERED:
            self._committed.popitem(last=False)

    def settled(self, settled: Settled, now: float) -> None:
        """Notes a message that ended, if its trace is to be told."""
        if settled.message.trace.sampled or not self._telemetry.exports_spans:
            return
        if not _is_worth_it(settled, now):
            return
        try:
            self._waiting.put_nowait(settled.message.id)
        except asyncio.QueueFull:
            log.warning("trace_not_kept", message_id=settled.message.id)

    async def run(self) -> None:
        """Tells what waits, until cancelled."""
        while True:
            ids = [await self._waiting.get()]
            while len(ids) < _AT_ONCE and not self._waiting.empty():
                ids.append(self._waiting.get_nowait())
            try:
                lives = await self._database.read("timeline", partial(_lives, ids=ids))
            except Problem as problem:
                log.warning("traces_not_kept", count=len(ids), error=str(problem))
                continue
            for life in lives:
                self._tell(life)

    def _tell(self, life: Life) -> None:
        event_id = life.message["event_id"]
        first = event_id not in self._told_events
        self._told_events[event_id] = None
        if len(self._told_events) > _REMEMBERED:
            self._told_events.popitem(last=False)
        trace.tell_whole(self._telemetry, life, self._committed.get(event_id), with_event=first)


def _is_worth_it(settled: Settled, now: float) -> bool:
    if settled.decision.state in _FAILED:
        return settled.result.reason is not Reason.MUTED
    message = settled.message
    # Of a first attempt the time that it was due; later ones are due when the one before said so.
    waited_from = max(message.entered_at, message.due_at) if message.attempt == 1 else message.entered_at
    return settled.decision.state is State.DELIVERED and now - waited_from > SLOW_SECONDS


def _lives(connection: Connection, ids: list[str]) -> list[Life]:
    return [life for one in ids if (life := queries.life(connection, one)) is not None]
