"""Repeat counts: edits the message of an event that was repeated, so that it says how often.

Every replica runs it. The edit is stored in the transaction that takes it, so no crash loses or doubles it.
A message is edited at most every `EDIT_EVERY` seconds, and not while an earlier edit of it waits.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from sqlalchemy import Connection, Row, select

from services.bridge import bot_messages
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.bridge.chats import stored as chat_settings
from services.bridge.chats.times import time_of_day
from services.bridge.events.render import render
from services.bridge.events.templates import Templates
from services.contracts.fields import Severity
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.telemetry.telemetry import TraceContext, new_span_id, new_trace_id
from services.outbox import change_feed
from services.outbox.engine import Outbox
from services.outbox.intake import enqueue, repeats
from services.outbox.messages import UNFINISHED, Lane, MessageState, Origin, Submission, Text
from services.outbox.queries import shown
from services.outbox.schema import chat, event, message
from services.outbox.telegram.text import Builder, utf16_length

INTERVAL_SECONDS = 1.0
#: Counts that one round shows at most.
BATCH = 100
LONGEST_TEXT = 4_096
#: The message is, or may come to be, in the chat.
_SHOWN = (*UNFINISHED, MessageState.DELIVERED)


class RepeatCounts:
    """Shows the numbers of repeats.

    Args:
        outbox: the engine.
        templates: the operator's.
        clock: the time.
    """

    def __init__(self, outbox: Outbox, templates: Templates | None, clock: Clock) -> None:
        self._outbox = outbox
        self._templates = templates
        self._clock = clock

    async def run(self) -> None:
        """Works each second until cancelled."""
        while True:
            with suppress_and_log("repeat_counts_failed"):
                await self.show_due()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def show_due(self) -> None:
        """Stores the edits that are due now."""
        database, now = self._outbox.database, self._clock.time()
        for event_id in await database.read("read", partial(repeats.due, now=now, most=BATCH)):
            # One that cannot be shown must not keep the others from it.
            with suppress_and_log("repeat_count_failed"):
                await self._show(event_id, now)

    async def _show(self, event_id: str, now: float) -> None:
        database = self._outbox.database
        show = partial(_show, event_id=event_id, templates=self._templates, now=now)
        edits = await database.write("enqueue", show)
        if edits:
            database.notify(enqueue.CHANNEL)
            database.notify_local(change_feed.CHANNEL)
            self._outbox.record_stored(edits, self._clock.time())


@dataclass(frozen=True, slots=True)
class _First:
    """The first event, as the renderer reads it."""

    id: str
    event_id: str
    event_type: str
    title: str
    body: str


def _show(
    connection: Connection, event_id: str, templates: Templates | None, now: float
) -> Sequence[Submission]:
    taken = repeats.take(connection, event_id, now)
    if taken is None:
        return ()
    messages = connection.execute(_MESSAGES.where(message.c.event_id == event_id)).all()
    if _is_edited(connection, [row.id for row in messages]):
        repeats.postpone(connection, event_id, now + repeats.EDIT_EVERY)
        return ()
    counted = [row for row in messages if row.state in _SHOWN and not shown.deletion_of(connection, row.id)]
    bodies = {row.id: _newest_body(connection, row.id) or row.body for row in counted}
    edits = [_edit(row, bodies[row.id], taken, templates, now) for row in counted]
    stored = [edit for edit in edits if edit is not None]
    enqueue.insert(connection, stored, now)
    return stored


_MESSAGES = (
    select(
        message.c.id,
        message.c.event_id,
        message.c.chat_id,
        message.c.thread_id,
        message.c.bot,
        message.c.lane,
        message.c.state,
        event.c.type,
        event.c.title,
        event.c.body,
        event.c.source,
        event.c.severity,
        event.c.correlation_id,
        event.c.traceparent,
        chat.c.settings,
    )
    .join(event, event.c.id == message.c.event_id)
    .outerjoin(chat, (chat.c.bot == message.c.bot) & (chat.c.chat_id == message.c.chat_id))
    .order_by(message.c.seq)
)


def _is_edited(connection: Connection, message_ids: Sequence[str]) -> bool:
    """Whether an earlier edit of one of the messages still waits."""
    waits = select(message.c.seq).where(
        message.c.edits.in_(message_ids), message.c.state.in_([state.value for state in UNFINISHED])
    )
    return connection.execute(waits.limit(1)).first() is not None


def _newest_body(connection: Connection, message_id: str) -> str | None:
    """The event by which a client last edited a message; None: it was not edited."""
    of_client = (message.c.edits == message_id, event.c.origin == Origin.CLIENT.value)
    query = select(event.c.body).join(message, message.c.event_id == event.c.id).where(*of_client)
    body: str | None = connection.execute(query.order_by(message.c.seq.desc()).limit(1)).scalar()
    return body


def _edit(
    row: Row[tuple[object, ...]],
    body: str,
    taken: Row[tuple[int, float]],
    templates: Templates | None,
    now: float,
) -> Submission | None:
    first = _First(row.id, row.event_id, row.type, row.title, body)
    # Of a message with several parts the last one is edited.
    rendered = render(first, templates)
    last = rendered.parts[-1]
    zone = chat_settings.read(row.settings).time_zone
    text = with_count(last, taken.repeats, taken.first_at, zone) if isinstance(last, Text) else None
    if text is None:
        return None
    trace = TraceContext.parse(row.traceparent)
    info = EventInfo(
        row.type,
        row.title,
        correlation_id=row.correlation_id,
        trace=trace,
        source=row.source,
        severity=Severity(row.severity),
    )
    to = Recipient(row.chat_id, row.thread_id, edits=row.id, silent=True)
    span = trace.child() if trace else TraceContext(new_trace_id(), new_span_id(), sampled=False)
    # An edit without a keyboard takes the buttons away, and one without options shows a preview again.
    counted = BotMessage((text,), rendered.reply_markup, link_preview=rendered.options.link_preview)
    made, messages = bot_messages.new_event(counted, [to], info, span, bot=row.bot, now=now)
    # An edit must not overtake what it edits.
    return Submission((made,), (tuple(replace(one, lane=Lane(row.lane)) for one in messages),))


def with_count(text: Text, number: int, first_at: float, zone: str) -> Text | None:
    """The text of the first event with the number of times that it came; None if that is too long.

    Args:
        text: the last part of the message.
        number: how often it was repeated.
        first_at: when the first event was accepted, seconds since the epoch.
        zone: IANA time zone of the chat.
    """
    note = f"\n\n… ({number + 1} times since {time_of_day(first_at, zone)})"
    if utf16_length(text.text) + utf16_length(note) > LONGEST_TEXT:
        return None
    return Builder().add(text).italic(note).build()
