"""Processes the stored updates of a bot one after the other, because order matters in a chat.

For each update: the service's handler collects its context and reacts in one transaction, in which replies
and Bot API calls are stored; then what was committed is published: messages to the engine, what is the
service's by its handler, Bot API calls, and the update's span.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Generic

import orjson
import structlog
from opentelemetry.trace import SpanKind
from sqlalchemy import Connection

from services.kit.clock import Clock
from services.kit.database.connect import Database, StoreUnavailableError
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.outbox.engine import Outbox
from services.outbox.intake import enqueue
from services.outbox.telegram.bot_api import Bot
from services.outbox.tracing.message_spans import chat_hash
from services.updates import parse
from services.updates.bot_calls import BotCallRunner
from services.updates.handler import ContextT, ReactionSpan, ReactionT, ReceivedUpdate, UpdateHandler
from services.updates.metrics import UpdateMetrics
from services.updates.parse import TextMessage, Unreadable
from services.updates.source import Source
from services.updates.stored_updates import store
from services.updates.stored_updates.store import StoredUpdate

log = structlog.get_logger()

POLL_SECONDS = 1.0
BATCH = 100
MOST_TRIES = 5
#: Longest error that is stored with an update, characters.
LONGEST_ERROR = 1_000


@dataclass(frozen=True, slots=True)
class UpdateDependencies:
    """The parts that a receiver and a processor of updates use, besides the handler.

    Args:
        database: has the tables of the outbox and of :data:`services.updates.receiver.PACKAGES`.
        outbox: sends the replies.
        bot: the client of the bot.
        source: where its updates come from.
        telemetry: of the service.
        metrics: of updates, for all bots of the service.
        clock: source of the time.
    """

    database: Database
    outbox: Outbox
    bot: Bot
    source: Source
    telemetry: Telemetry
    metrics: UpdateMetrics
    clock: Clock


class UpdateProcessor(Generic[ContextT, ReactionT]):
    """Processes the stored updates of one bot.

    Args:
        bot: its name.
        deps: the parts that it uses.
        handler: of the service, for this bot.
    """

    def __init__(
        self, bot: str, deps: UpdateDependencies, handler: UpdateHandler[ContextT, ReactionT]
    ) -> None:
        self._bot = bot
        self._deps = deps
        self._handler = handler
        self._database = deps.database
        self._clock = deps.clock
        self._bot_calls = BotCallRunner(deps.bot, deps.database, deps.clock)

    async def resume(self) -> None:
        """Starts the Bot API calls that an earlier run, or another replica, has not finished."""
        await self._bot_calls.resume(self._bot)

    async def close(self) -> None:
        await self._bot_calls.close()

    async def run(self) -> None:
        """Processes updates until cancelled."""
        while True:
            read = partial(store.not_handled, bot=self._bot, limit=BATCH)
            updates = await self._database.read("updates", read)
            for update in updates:
                if not await self._process(update):
                    break
            if not updates:
                await self._database.wait(store.CHANNEL, POLL_SECONDS)

    async def _process(self, update: StoredUpdate) -> bool:
        """Processes one update; false if that failed: the next ones have to wait for it."""
        try:
            received = self._received(update)
            context = self._handler.context(received)
            handle = partial(_handle, handler=self._handler, update=received, context=context)
            reaction = await self._database.write("update_act", handle)
        except StoreUnavailableError:
            raise
        except Exception as error:
            log.exception("update_failed", update_id=update.update_id, tries=update.tries + 1)
            await self._record_failure(update, error)
            return False
        if reaction is not None:
            if isinstance(received.parsed, Unreadable):
                self._deps.metrics.unreadable.inc()
                log.warning("update_unreadable", update_id=update.update_id, why=received.parsed.why)
            await self._after_commit(received, context, reaction)
        return True

    def _received(self, update: StoredUpdate) -> ReceivedUpdate:
        parsed = parse.parse_update(orjson.loads(update.body))
        return ReceivedUpdate(update, parsed, self._deps.telemetry.new_trace(), self._clock.time())

    async def _record_failure(self, update: StoredUpdate, error: Exception) -> None:
        final = update.tries + 1 >= MOST_TRIES
        if final:
            self._deps.metrics.failed.inc()
        # PostgreSQL stores no NUL.
        text = f"{type(error).__name__}: {error}"[:LONGEST_ERROR].replace("\0", "")
        record = partial(store.record_failure, seq=update.seq, error=text, final=final)
        await self._database.write("updates", record)
        await asyncio.sleep(POLL_SECONDS)

    async def _after_commit(self, update: ReceivedUpdate, context: ContextT, reaction: ReactionT) -> None:
        deps, stored = self._deps, update.stored
        deps.outbox.record_stored(reaction.replies, self._clock.time())
        if reaction.replies:
            self._database.notify(enqueue.CHANNEL)
        await self._handler.publish(context, reaction)
        if reaction.bot_calls:
            self._bot_calls.start(stored.seq, stored.received_at, reaction.bot_calls)
        shown = self._handler.span(reaction) if deps.telemetry.exports_spans else None
        if shown is not None:
            span = _span(update, shown, self._clock.time())
            deps.outbox.tail_sampler.sample_reply(span, event_id=shown.event_id)


def _handle(
    connection: Connection,
    handler: UpdateHandler[ContextT, ReactionT],
    update: ReceivedUpdate,
    context: ContextT,
) -> ReactionT | None:
    """Handles an update in one transaction; None if it was handled before."""
    if not store.mark_handled(connection, update.stored.seq, update.now):
        return None
    reaction = handler.react(connection, context)
    enqueue.insert(connection, reaction.replies, update.now)
    store.add_bot_calls(connection, update.stored.seq, reaction.bot_calls)
    handler.store(connection, context, reaction)
    return reaction


def _span(update: ReceivedUpdate, shown: ReactionSpan, now: float) -> FinishedSpan:
    """The span of an update: a trace of its own, linked to the span of the message that it answers."""
    attributes = {
        "messaging.system": "telegram",
        "cctelegram.update_id": update.stored.update_id,
        **shown.attributes,
    }
    act = parse.act_of(update.parsed)
    if act is not None and act.chat_id is not None:
        attributes["cctelegram.chat_hash"] = chat_hash(act.chat_id)
    if isinstance(update.parsed, TextMessage) and update.parsed.attachment is not None:
        attributes["cctelegram.attachment"] = update.parsed.attachment.kind.value
    return FinishedSpan(
        shown.name,
        update.span,
        None,
        update.stored.received_at,
        now,
        attributes,
        SpanKind.CONSUMER,
        links=(shown.trace,) if shown.trace else (),
    )
