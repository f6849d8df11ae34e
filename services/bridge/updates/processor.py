"""Processes the stored updates of a bot one after the other, because order matters in a chat.

For each update: build its context, handle it in one transaction (``handler``), then publish what was
committed: messages to the engine, changes of approvals, metrics, Bot API calls, and the update's span.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import orjson
import structlog
from opentelemetry.trace import SpanKind

from services.bridge.approvals.after_commit import ApprovalPublisher
from services.bridge.commands.snapshot import SnapshotReader
from services.bridge.first_chat import choice
from services.bridge.first_chat.choice import FirstChat
from services.bridge.updates import handler, responses
from services.bridge.updates.context import Reaction, ReactionKind, UpdateContext
from services.bridge.updates.metrics import UpdateMetrics
from services.bridge.webhooks import store as webhooks
from services.kit.clock import Clock
from services.kit.database.connect import Database, StoreUnavailableError
from services.kit.telemetry.telemetry import FinishedSpan, Telemetry
from services.outbox.engine import Outbox
from services.outbox.intake.enqueue import CHANNEL as OUTBOX
from services.outbox.telegram.bot_api import Bot
from services.outbox.tracing.message_spans import chat_hash
from services.updates import parse
from services.updates.attachments import Attachment
from services.updates.bot_calls import BotCallRunner
from services.updates.parse import NotTaken, ParsedUpdate, Tap, TextMessage, Unreadable
from services.updates.source import Source
from services.updates.stored_updates import store
from services.updates.stored_updates.store import StoredUpdate

log = structlog.get_logger()

POLL_SECONDS = 1.0
BATCH = 100
MOST_TRIES = 5
#: Longest error that is stored with an update, characters.
LONGEST_ERROR = 1_000
STRANGER_NOTICE_INTERVAL_SECONDS = 3_600.0
#: The last so many strangers are remembered.
REMEMBERED_STRANGERS = 10_000


@dataclass(frozen=True, slots=True)
class UpdateDependencies:
    """The parts that a receiver and a processor of updates use."""

    database: Database
    first_chat: FirstChat
    outbox: Outbox
    bot: Bot
    source: Source
    snapshots: SnapshotReader
    publisher: ApprovalPublisher
    telemetry: Telemetry
    metrics: UpdateMetrics
    clock: Clock


class UpdateProcessor:
    """Processes the stored updates of one bot.

    Args:
        bot: its name.
        deps: the parts that it uses.
    """

    def __init__(self, bot: str, deps: UpdateDependencies) -> None:
        self._bot = bot
        self._deps = deps
        self._database = deps.database
        self._clock = deps.clock
        self._bot_calls = BotCallRunner(deps.bot, deps.database, deps.clock)
        #: Telegram ids of a stranger and of the chat → when the last notice was sent, monotonic.
        self._notices: OrderedDict[tuple[int, int | None], float] = OrderedDict()
        #: Of the bot; None until Telegram has returned it.
        self.username: str | None = None

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
            context = self._context(update)
            reaction = await self._database.write("update_act", partial(handler.handle, context=context))
        except StoreUnavailableError:
            raise
        except Exception as error:
            log.exception("update_failed", update_id=update.update_id, tries=update.tries + 1)
            await self._record_failure(update, error)
            return False
        if reaction is not None:
            if isinstance(context.parsed, Unreadable):
                self._deps.metrics.unreadable.inc()
                log.warning("update_unreadable", update_id=update.update_id, why=context.parsed.why)
            await self._after_commit(context, reaction)
        return True

    def _context(self, update: StoredUpdate) -> UpdateContext:
        parsed = parse.parse_update(orjson.loads(update.body))
        acted = _act_of(parsed)
        return UpdateContext(
            update=update,
            parsed=parsed,
            allowed=self._deps.first_chat.allowed(self._bot),
            username=self.username,
            snapshot=self._deps.snapshots.snapshot(),
            may_notify_stranger=acted is not None and self._may_notify(acted.sender.id, acted.chat_id),
            span=self._deps.telemetry.new_trace(),
            now=self._clock.time(),
            first_chat_code=self._deps.first_chat.code(self._bot),
        )

    async def _record_failure(self, update: StoredUpdate, error: Exception) -> None:
        final = update.tries + 1 >= MOST_TRIES
        if final:
            self._deps.metrics.failed.inc()
        # PostgreSQL stores no NUL.
        text = f"{type(error).__name__}: {error}"[:LONGEST_ERROR].replace("\0", "")
        record = partial(store.record_failure, seq=update.seq, error=text, final=final)
        await self._database.write("updates", record)
        await asyncio.sleep(POLL_SECONDS)

    async def _after_commit(self, context: UpdateContext, reaction: Reaction) -> None:
        update, deps = context.update, self._deps
        deps.outbox.record_stored(reaction.replies, self._clock.time())
        if reaction.replies or reaction.kind is ReactionKind.MEMBERSHIP:
            self._database.notify(OUTBOX)
        if reaction.answer is not None:
            deps.publisher.answered(reaction.answer.via, reaction.answer.change.outcome)
            await deps.publisher.closed([reaction.answer.change])
        if reaction.unauthorised:
            deps.metrics.strangers.labels(update.kind).inc()
        if reaction.notified_stranger is not None:
            acted = _act_of(context.parsed)
            self._remember_notice(reaction.notified_stranger, acted.chat_id if acted else None)
        if reaction.response is not None:
            self._database.notify(responses.CHANNEL)
        if reaction.chose_chat:
            self._database.notify(choice.CHANNEL)
        if reaction.webhooks:
            self._database.notify(webhooks.CHANNEL)
        if reaction.bot_calls:
            self._bot_calls.start(update.seq, update.received_at, reaction.bot_calls)
        if deps.telemetry.exports_spans and reaction.kind is not ReactionKind.IGNORED:
            span = _span(context, reaction, self._clock.time())
            deps.outbox.tail_sampler.sample_reply(span, event_id=reaction.link.event_id)

    def _may_notify(self, user_id: int, chat_id: int | None) -> bool:
        noticed_at = self._notices.get((user_id, chat_id))
        return noticed_at is None or self._clock.monotonic() - noticed_at >= STRANGER_NOTICE_INTERVAL_SECONDS

    def _remember_notice(self, user_id: int, chat_id: int | None) -> None:
        self._notices[user_id, chat_id] = self._clock.monotonic()
        self._notices.move_to_end((user_id, chat_id))
        if len(self._notices) > REMEMBERED_STRANGERS:
            self._notices.popitem(last=False)


def _act_of(parsed: ParsedUpdate) -> Tap | TextMessage | None:
    """What a person did; None if the update is of something else."""
    if isinstance(parsed, NotTaken):
        return parsed.message
    return parsed if isinstance(parsed, Tap | TextMessage) else None


def _attachment_of(parsed: ParsedUpdate) -> Attachment | None:
    return parsed.attachment if isinstance(parsed, TextMessage) else None


def _span(context: UpdateContext, reaction: Reaction, now: float) -> FinishedSpan:
    """The span of an update: a trace of its own, linked to the span of the message that it answers."""
    parsed, link, answer = context.parsed, reaction.link, reaction.answer
    attributes = {
        "messaging.system": "telegram",
        "cctelegram.update_id": context.update.update_id,
        **reaction.attributes,
    }
    if answer is not None:
        attributes["cctelegram.approval_id"] = answer.change.approval.id
        attributes["cctelegram.outcome"] = answer.change.outcome.value
    acted, attachment = _act_of(parsed), _attachment_of(parsed)
    if acted is not None and acted.chat_id is not None:
        attributes["cctelegram.chat_hash"] = chat_hash(acted.chat_id)
    if attachment is not None:
        attributes["cctelegram.attachment"] = attachment.kind.value
    for name in ("message_id", "event_id", "correlation_id"):
        if (value := getattr(link, name)) is not None:
            attributes[f"cctelegram.{name}"] = value
    return FinishedSpan(
        reaction.kind.value,
        context.span,
        None,
        context.update.received_at,
        now,
        attributes,
        SpanKind.CONSUMER,
        links=(link.trace,) if link.trace else (),
    )
