"""Acts on what is stored, one update after the other: in a chat, order matters."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
from opentelemetry.trace import SpanKind

from services.bridge.approvals.after_commit import News
from services.bridge.commands.snapshot import Measured
from services.bridge.updates import handler, parse, responses, store
from services.bridge.updates.bot_calls import Chores
from services.bridge.updates.context import Done, Situation
from services.bridge.updates.metrics import UpdateMetrics
from services.bridge.updates.parse import Said, Tap
from services.bridge.updates.source import Source
from services.bridge.updates.store import Stored
from services.kit.clock import Clock
from services.kit.database.connect import Database, StoreUnavailableError
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.outbox.engine import Outbox
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.telegram.bot_api import Bot
from services.outbox.tracing.message_spans import chat_hash

log = structlog.get_logger()

LOOK_SECONDS = 1.0
BATCH = 100
MOST_TRIES = 5
TELL_STRANGER_EVERY_SECONDS = 3_600.0
KNOWN_STRANGERS = 10_000


@dataclass(frozen=True, slots=True)
class Parts:
    """What receiving stands on."""

    database: Database
    outbox: Outbox
    bot: Bot
    source: Source
    measured: Measured
    news: News
    telemetry: Telemetry
    metrics: UpdateMetrics
    clock: Clock


class Acting:
    """See the module.

    Args:
        name: of the bot, as in the engine.
        allowed: Telegram ids of those who may talk to the bot.
        parts: what it stands on.
    """

    def __init__(self, name: str, allowed: frozenset[int], parts: Parts) -> None:
        self._name = name
        self._allowed = allowed
        self._parts = parts
        self._database = parts.database
        self._clock = parts.clock
        self._chores = Chores(parts.bot, parts.database, parts.clock)
        self._strangers: OrderedDict[int, float] = OrderedDict()
        #: Of the bot, where Telegram has told it.
        self.username: str | None = None

    async def resume(self) -> None:
        """Goes on with the small calls that an earlier run, or another replica, has left."""
        await self._chores.resume(self._name)

    async def close(self) -> None:
        await self._chores.close()

    async def run(self) -> None:
        while True:
            waiting = partial(store.waiting, bot=self._name, limit=BATCH)
            updates = await self._database.read("updates", waiting)
            for update in updates:
                if not await self._act_on(update):
                    break
            if not updates:
                await self._database.wait(store.CHANNEL, LOOK_SECONDS)

    async def _act_on(self, update: Stored) -> bool:
        """False where it failed: what came after it waits, since order matters in a chat."""
        situation = self._situation(update)
        try:
            done = await self._database.write("update_act", partial(handler.act, s=situation))
        except StoreUnavailableError:
            raise
        except Exception as error:
            log.exception("update_failed", update_id=update.update_id, tries=update.tries + 1)
            final = update.tries + 1 >= MOST_TRIES
            if final:
                self._parts.metrics.failed.inc()
            said = f"{type(error).__name__}: {error}"
            await self._database.write(
                "updates", partial(store.failed, seq=update.seq, error=said, final=final)
            )
            await asyncio.sleep(LOOK_SECONDS)
            return False
        if done is not None:
            await self._follow(situation, done)
        return True

    def _situation(self, update: Stored) -> Situation:
        read = parse.read(orjson.loads(update.body))
        sender = read.sender.id if isinstance(read, Tap | Said) else None
        return Situation(
            update=update,
            incoming=read,
            allowed=self._allowed,
            username=self.username,
            snapshot=self._parts.measured.snapshot(),
            tell_stranger=sender is not None and self._may_tell(sender),
            trace=self._parts.telemetry.new_trace(),
            now=self._clock.time(),
        )

    def _may_tell(self, user_id: int) -> bool:
        """Once in a while; who asks again sooner gets no answer."""
        told = self._strangers.get(user_id)
        return told is None or self._clock.monotonic() - told >= TELL_STRANGER_EVERY_SECONDS

    def _note_told(self, user_id: int) -> None:
        self._strangers[user_id] = self._clock.monotonic()
        self._strangers.move_to_end(user_id)
        if len(self._strangers) > KNOWN_STRANGERS:
            self._strangers.popitem(last=False)

    async def _follow(self, situation: Situation, done: Done) -> None:
        """After the commit: counts, spans, those who wait, and what remains to be done."""
        update, parts = situation.update, self._parts
        parts.outbox.record_stored(done.submissions, self._clock.time())
        if done.submissions or done.what == "membership":
            self._database.notify(OUTBOX)
        if done.answered is not None:
            parts.news.answered(*done.answered)
        await parts.news.closed(done.changes)
        if done.stranger:
            parts.metrics.strangers.labels(update.kind).inc()
        if done.stranger_told is not None:
            self._note_told(done.stranger_told)
        if done.response is not None:
            self._database.notify(responses.CHANNEL)
        if done.chores:
            self._chores.start(update.seq, update.received_at, done.chores)
        self._tell(situation, done)

    def _tell(self, situation: Situation, done: Done) -> None:
        """A span of its own, linked to the message that it answers: it may come hours later."""
        read = situation.incoming
        if not self._parts.telemetry.exports_spans or done.what == "ignored":
            return
        attributes = {
            "messaging.system": "telegram",
            "cctelegram.update_id": situation.update.update_id,
            **done.attributes,
        }
        if isinstance(read, Tap | Said) and read.chat_id is not None:
            attributes["cctelegram.chat_hash"] = chat_hash(read.chat_id)
        for name in ("message_id", "event_id", "correlation_id"):
            if (value := getattr(done.link, name)) is not None:
                attributes[f"cctelegram.{name}"] = value
        links = (done.link.trace,) if done.link.trace else ()
        span = FinishedSpan(
            done.what,
            situation.trace,
            None,
            situation.update.received_at,
            self._clock.time(),
            attributes,
            SpanKind.CONSUMER,
            links=links,
        )
        self._parts.outbox.tail_sampler.sample_reply(span, event_id=done.link.event_id)
