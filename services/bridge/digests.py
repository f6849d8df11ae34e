"""Digests: combines messages with a digest key at the end of their window, and lets them end as that message.

Every replica runs it. Each step is one transaction, so no crash loses or doubles a digest.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, Row

from services.bridge import bot_messages
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.bridge.chats import stored as chat_settings
from services.bridge.events import digest_text
from services.bridge.events.digest_text import Shown
from services.bridge.tracking.metrics import TrackingMetrics
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.telemetry.telemetry import TraceContext, new_span_id, new_trace_id
from services.outbox import change_feed
from services.outbox.engine import Outbox
from services.outbox.intake import digest_ends, enqueue
from services.outbox.intake.digest_ends import Digest
from services.outbox.messages import Lane, Origin, Submission, UnknownPolicy

INTERVAL_SECONDS = 1.0
#: Digests that one round combines at most, and that it ends at most.
BATCH = 100
#: The type of a digest's event.
TYPE = "info_notification"


class Digests:
    """Combines and ends digests.

    Args:
        outbox: the engine.
        metrics: of tracking.
        clock: the time.
    """

    def __init__(self, outbox: Outbox, metrics: TrackingMetrics, clock: Clock) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Works each second until cancelled."""
        while True:
            with suppress_and_log("digests_failed"):
                await self.combine_due()
            with suppress_and_log("digests_failed"):
                await self.end_shown()
            await asyncio.sleep(INTERVAL_SECONDS)

    async def combine_due(self) -> None:
        """Stores the messages of the digests whose window is over."""
        database, now = self._outbox.database, self._clock.time()
        for digest_id in await database.read("read", partial(digest_ends.due, now=now, most=BATCH)):
            with suppress_and_log("digest_failed"):
                await self._combine(digest_id, now)

    async def _combine(self, digest_id: str, now: float) -> None:
        database = self._outbox.database
        stored = await database.write("enqueue", partial(_combine, digest_id=digest_id, now=now))
        database.notify(enqueue.CHANNEL)
        database.notify_local(change_feed.CHANNEL)
        if stored is not None:
            submission, members = stored
            self._metrics.digested.inc(members)
            self._outbox.record_stored([submission], self._clock.time())

    async def end_shown(self) -> None:
        """Ends the messages whose digest's message has ended."""
        database, now = self._outbox.database, self._clock.time()
        for digest_id in await database.read("read", partial(digest_ends.ended, most=BATCH)):
            with suppress_and_log("digest_failed"):
                await self._follow(digest_id, now)

    async def _follow(self, digest_id: str, now: float) -> None:
        database = self._outbox.database
        followed = await database.write("settle", partial(digest_ends.follow, digest_id=digest_id, now=now))
        if followed is not None:
            database.notify_local(change_feed.CHANNEL)
            self._outbox.metrics.count_alike(followed.state, followed.reason, followed.messages)


def _combine(connection: Connection, digest_id: str, now: float) -> tuple[Submission, int] | None:
    """Combines a digest; returns what it stored, and of how many messages. None: nothing was to be stored."""
    digest = digest_ends.take(connection, digest_id, now)
    rows = digest_ends.waiting(connection, digest_id, now) if digest else ()
    if digest is None or not rows:
        return None
    if len(rows) == 1:
        digest_ends.send_alone(connection, digest, rows[0], now)
        return None
    submission = _submission(digest, rows, now)
    enqueue.insert(connection, [submission], now)
    ((made,),) = submission.messages
    digest_ends.combine(connection, digest, rows, made.id, now)
    return submission, len(rows)


def _submission(digest: Digest, rows: Sequence[Row[Any]], now: float) -> Submission:
    """The event and the message of a digest."""
    events = [Shown(row.type, row.title, row.severity, row.accepted_at) for row in rows]
    zone = chat_settings.read(digest.settings).time_zone
    shown = BotMessage((digest_text.text_of(digest.key, events, zone),), link_preview={"is_disabled": True})
    title = digest_text.title_of(digest.key, len(rows))
    severity = digest_text.highest(events)
    info = EventInfo(TYPE, title, source=digest.client, severity=severity, client=digest.client)
    expiries = [row.expires_at for row in rows]
    to = Recipient(
        digest.chat_id,
        digest.thread_id,
        expires_at=None if None in expiries else max(expiries),
        silent=all(row.silent for row in rows),
        on_unknown=UnknownPolicy.HOLD
        if any(row.on_unknown == UnknownPolicy.HOLD.value for row in rows)
        else UnknownPolicy.RESEND,
    )
    span = TraceContext(new_trace_id(), new_span_id(), sampled=False)
    made, messages = bot_messages.new_event(shown, [to], info, span, bot=digest.bot, now=now)
    posted = {"type": TYPE, "title": title, "digest_key": digest.key, "severity": severity.value}
    body = bot_messages.event_body(shown, orjson.dumps(posted).decode())
    made = replace(made, origin=Origin.DIGEST, body=body)
    lane = Lane(min(row.lane for row in rows))
    return Submission((made,), (tuple(replace(one, lane=lane) for one in messages),))
