"""Kept: of the traces that are not sampled, those of slow and of failed messages, told at their end.

All that is needed is stored with the message, but for one thing: when the commit of its event was
over. A transaction cannot hold that, so it is remembered here, for as long as there is room; where
it is not known (another process took the event in) the span ends when the rows were handed to the
disk, and says so.

A tap or a reply is kept with the trace of the message that it answers, however much later it comes.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection, func, or_, select

from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.outbox.messages import FAILED, EventRecord, MessageState, Reason, Settled
from services.outbox.queries import message_timeline
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.schema import message
from services.outbox.tracing import message_spans

log = structlog.get_logger()

SLOW_SECONDS = 5.0
_REMEMBERED = 20_000
#: More than this waiting to be told are let go: telling must not become a queue of its own.
_MOST_WAITING = 5_000
_AT_ONCE = 50
_FAILED = (*FAILED, MessageState.SUPPRESSED)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A span that is told if one of the event's messages was."""

    event_id: str
    span: FinishedSpan


class Keeper:
    """Decides at a message's end whether its trace is told after all."""

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry
        self._committed: OrderedDict[str, float] = OrderedDict()
        self._told_events: OrderedDict[str, None] = OrderedDict()
        self._waiting: asyncio.Queue[str | _Answer] = asyncio.Queue(_MOST_WAITING)

    def accepted(self, event: EventRecord, committed_at: float) -> None:
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
        self._note(settled.message.id)

    def answered(self, span: FinishedSpan, *, event_id: str | None) -> None:
        """Tells the span of a tap or a reply: if it is sampled, or what it answers is, or was kept.

        Args:
            span: linked to the trace that it answers, if to any.
            event_id: what it answers.
        """
        if span.context.sampled or any(link.sampled for link in span.links):
            self._telemetry.keep(span)
        elif event_id is not None and self._telemetry.exports_spans:
            self._note(_Answer(event_id, span))

    def _note(self, wanted: str | _Answer) -> None:
        try:
            self._waiting.put_nowait(wanted)
        except asyncio.QueueFull:
            log.warning("trace_not_kept", wanted=wanted if isinstance(wanted, str) else wanted.event_id)

    async def run(self) -> None:
        """Tells what waits, until cancelled."""
        while True:
            wanted = [await self._waiting.get()]
            while len(wanted) < _AT_ONCE and not self._waiting.empty():
                wanted.append(self._waiting.get_nowait())
            try:
                lives, answers = await self._database.read("timeline", partial(_found, wanted=wanted))
            except Problem as problem:
                log.warning("traces_not_kept", count=len(wanted), error=str(problem))
                continue
            for life in lives:
                self._tell(life)
            for answer in answers:
                self._telemetry.keep(answer.span)

    def _tell(self, life: MessageTimeline) -> None:
        event_id = life.message["event_id"]
        first = event_id not in self._told_events
        self._told_events[event_id] = None
        if len(self._told_events) > _REMEMBERED:
            self._told_events.popitem(last=False)
        message_spans.tell_whole(self._telemetry, life, self._committed.get(event_id), with_event=first)


def _is_worth_it(settled: Settled, now: float) -> bool:
    if settled.decision.state in _FAILED:
        return settled.result.reason is not Reason.MUTED
    of = settled.message
    # Of a first attempt the time that it was due; later ones are due when the one before said so.
    waited_from = max(of.entered_at, of.due_at) if of.attempt == 1 else of.entered_at
    return settled.decision.state is MessageState.DELIVERED and now - waited_from > SLOW_SECONDS


def _found(
    connection: Connection, wanted: Sequence[str | _Answer]
) -> tuple[list[MessageTimeline], list[_Answer]]:
    """The messages to be told, and of the answers those to messages that were."""
    ids = [one for one in wanted if isinstance(one, str)]
    answers = [one for one in wanted if isinstance(one, _Answer)]
    lives = [life for one in ids if (life := message_timeline.timeline(connection, one)) is not None]
    kept = _kept(connection, [answer.event_id for answer in answers]) if answers else frozenset[str]()
    return lives, [answer for answer in answers if answer.event_id in kept]


def _kept(connection: Connection, event_ids: Sequence[str]) -> frozenset[str]:
    """Of these events those with a message whose trace was told.

    When a message was due is not stored for good: one that was appointed for later counts as slow.
    """
    columns = message.c
    entered = func.coalesce(columns.replayed_at, columns.accepted_at)
    slow = (columns.state == MessageState.DELIVERED.value) & (columns.finished_at - entered > SLOW_SECONDS)
    failed = columns.state.in_([state.value for state in _FAILED]) & (columns.reason != Reason.MUTED.value)
    found = select(columns.event_id).where(columns.event_id.in_(event_ids), or_(slow, failed))
    return frozenset(connection.execute(found).scalars())
