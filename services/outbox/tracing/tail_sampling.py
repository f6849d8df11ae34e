"""Tail sampling: exports the traces of slow and failed messages at their end, where they are not sampled.

Everything in a trace is stored with its message, except the time when the commit of its event ended. That is
remembered here for the latest events. Where it is unknown (another process stored the event), the span ends
when the rows were handed to the disk, and ``cctelegram.commit_measured`` is false.

The span of a tap or a reply is exported if the trace of the message that it answers was exported.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection, or_, select

from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.outbox.messages import EventRecord, MessageState, Settled, is_failure
from services.outbox.queries import message_timeline
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.schema import ENTERED_AT, IS_FAILURE, message
from services.outbox.tracing import message_spans

log = structlog.get_logger()

SLOW_SECONDS = 5.0
REMEMBERED_EVENTS = 20_000
#: More traces than this are dropped: they must not become a queue without end.
LARGEST_QUEUE = 5_000
LARGEST_BATCH = 50


@dataclass(frozen=True, slots=True)
class _Reply:
    """The span of a tap or a reply, exported if a message of the event was slow or failed."""

    event_id: str
    span: FinishedSpan


class TailSampler:
    """Decides at a message's end whether its trace is exported though it is not sampled."""

    def __init__(self, database: Database, telemetry: Telemetry) -> None:
        self._database = database
        self._telemetry = telemetry
        self._committed: OrderedDict[str, float] = OrderedDict()
        self._exported_events: OrderedDict[str, None] = OrderedDict()
        #: Ids of messages, and replies.
        self._queue: asyncio.Queue[str | _Reply] = asyncio.Queue(LARGEST_QUEUE)

    @property
    def idle(self) -> bool:
        """Whether no trace waits to be exported."""
        return self._queue.empty()

    def remember_commit(self, event: EventRecord, committed_at: float) -> None:
        """Remembers when an event was durable, for a trace that may be exported later."""
        if event.trace.sampled or not self._telemetry.exports_spans:
            return
        self._committed[event.id] = committed_at
        if len(self._committed) > REMEMBERED_EVENTS:
            self._committed.popitem(last=False)

    def sample_message(self, settled: Settled, now: float) -> None:
        """Queues the trace of a message that ended, if it was slow or failed."""
        if settled.message.trace.sampled or not self._telemetry.exports_spans:
            return
        if _is_slow_or_failed(settled, now):
            self._put(settled.message.id)

    def sample_reply(self, span: FinishedSpan, *, event_id: str | None) -> None:
        """Exports the span of a tap or a reply, if it or the trace that it answers is sampled or exported.

        Args:
            span: with a link to the trace that it answers, if it answers one.
            event_id: of the event that it answers.
        """
        if span.context.sampled or any(link.sampled for link in span.links):
            self._telemetry.export_span(span)
        elif event_id is not None and self._telemetry.exports_spans:
            self._put(_Reply(event_id, span))

    def _put(self, entry: str | _Reply) -> None:
        try:
            self._queue.put_nowait(entry)
        except asyncio.QueueFull:
            log.warning("trace_dropped", id=entry if isinstance(entry, str) else entry.event_id)

    async def run(self) -> None:
        """Exports what is queued, until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            try:
                lives, replies = await self._database.read("timeline", partial(_read, batch=batch))
            except Problem as problem:
                log.warning("traces_not_exported", count=len(batch), error=str(problem))
                continue
            for life in lives:
                self._export(life)
            for reply in replies:
                self._telemetry.export_span(reply.span)

    def _export(self, life: MessageTimeline) -> None:
        event_id = life.message["event_id"]
        first = event_id not in self._exported_events
        self._exported_events[event_id] = None
        if len(self._exported_events) > REMEMBERED_EVENTS:
            self._exported_events.popitem(last=False)
        message_spans.export_stored(self._telemetry, life, self._committed.get(event_id), with_event=first)


def _is_slow_or_failed(settled: Settled, now: float) -> bool:
    if is_failure(settled.decision.state, settled.result.reason):
        return True
    waited = now - settled.message.entered_at
    return settled.decision.state is MessageState.DELIVERED and waited > SLOW_SECONDS


def _read(
    connection: Connection, batch: Sequence[str | _Reply]
) -> tuple[list[MessageTimeline], list[_Reply]]:
    """The messages of a batch, and its replies to messages that were slow or failed."""
    ids = [entry for entry in batch if isinstance(entry, str)]
    replies = [entry for entry in batch if isinstance(entry, _Reply)]
    lives = [life for one in ids if (life := message_timeline.timeline(connection, one)) is not None]
    exported = _exported(connection, [reply.event_id for reply in replies]) if replies else frozenset[str]()
    return lives, [reply for reply in replies if reply.event_id in exported]


def _exported(connection: Connection, event_ids: Sequence[str]) -> frozenset[str]:
    """The events among these that have a message whose trace was exported."""
    columns = message.c
    slow = (columns.state == MessageState.DELIVERED.value) & (columns.finished_at - ENTERED_AT > SLOW_SECONDS)
    found = select(columns.event_id).where(columns.event_id.in_(event_ids), or_(slow, IS_FAILURE))
    return frozenset(connection.execute(found).scalars())
