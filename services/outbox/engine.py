"""The engine of one service: it stores messages, delivers them, and measures itself.

:func:`open_outbox` starts it; :class:`Outbox` is what the owning service works with.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

import structlog

from services.kit.background import instance_name, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.delivery.attempts import Prepare, as_it_is
from services.outbox.delivery.message_sender import MessageSender
from services.outbox.delivery.plan import DEFAULT_RULES, ChatRules
from services.outbox.delivery.reports import Observer, ignore
from services.outbox.delivery.retry_policy import BOT_STOPS, Policy
from services.outbox.delivery.transactions import WorkerSettings
from services.outbox.delivery.worker import Worker
from services.outbox.intake.group_commit import Intake, Receipt
from services.outbox.messages import Outcome, Reason, Settled, Submission
from services.outbox.messages.step import Render
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries.queue_monitor import QueueMonitor
from services.outbox.rate_limit.bot_bucket import Bucket, LocalBucket
from services.outbox.rate_limit.bot_rate_limiter import BotRateLimiter
from services.outbox.rate_limit.chat_pace import ChatPace
from services.outbox.rate_limit.limits import Limits
from services.outbox.telegram.sender import Sender
from services.outbox.tracing import message_spans
from services.outbox.tracing.tail_sampling import TailSampler

log = structlog.get_logger()

#: The engine's units of work; each has its own series in the database's metrics.
OPERATIONS = (
    "enqueue",
    "claim",
    "settle",
    "turn",
    "renew",
    "take_over",
    "bot",
    "depth",
    "read",
    "search",
    "ping",
    "feed",
    "timeline",
)
PRUNE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Settings of the engine; ``limits`` are those of the default bot, whose name is ``bot_name``."""

    concurrency: int = 64
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    bot_name: str = "default"


_Sender_co = TypeVar("_Sender_co", bound=MessageSender, covariant=True)


@dataclass(frozen=True, slots=True)
class SendingBot(Generic[_Sender_co]):
    """A bot that the engine sends with, or what sends by other channels and is one more bot to the queue.

    Args:
        sender: calls the Bot API as this bot, or other channels.
        limits: Telegram's rate limits of the bot and its chats.
        bucket: rate limit of the bot; None: a local bucket.
        paid_bucket: rate limit of paid messages of the bulk lane; None: the bot pays for nothing.
        chat_pace: of the bot's chats, shared with its other senders; None: none is.
        render: makes the content of its messages; None: as the default bot's.
        shares_flood: whether flood control of two chats at once means that of the whole bot.
    """

    sender: _Sender_co
    limits: Limits = field(default_factory=Limits)
    bucket: Bucket | None = None
    paid_bucket: Bucket | None = None
    chat_pace: ChatPace | None = None
    render: Render | None = None
    shares_flood: bool = True


class Outbox:
    """The engine as its owning service sees it. Opened by :func:`open_outbox`.

    Attributes:
        queue: depth and rates of the queue.
    """

    def __init__(
        self,
        *,
        database: Database,
        telemetry: Telemetry,
        metrics: OutboxMetrics,
        clock: Clock,
        sender: Sender,
    ) -> None:
        self.database = database
        self.metrics = metrics
        self.sender = sender
        self.intake = Intake(
            database, clock, flushers=1 if database.single_process else 2, stored=self.record_stored
        )
        self.queue = QueueMonitor(database, metrics, clock)
        self.tail_sampler = TailSampler(database, telemetry)
        self._telemetry = telemetry
        self._clock = clock

    async def enqueue(self, submission: Submission) -> Receipt:
        """Stores events and their messages; returns after the commit.

        Raises:
            Problem: as :meth:`services.outbox.intake.group_commit.Intake.enqueue`.
        """
        return await self.intake.enqueue(submission)

    def record_stored(self, submissions: Sequence[Submission], committed_at: float) -> None:
        """Counts and traces stored submissions. ``enqueue`` does it; call it after other commits.

        Args:
            submissions: that the commit stored.
            committed_at: end of the commit, seconds since the epoch.
        """
        stored = [
            pair
            for submission in submissions
            for pair in zip(submission.events, submission.messages, strict=True)
        ]
        for event, messages in stored:
            self.metrics.count_accepted(event.type, event.category, len(messages))
            self.tail_sampler.remember_commit(event, committed_at)
        message_spans.export_accepted(self._telemetry, stored, committed_at)

    async def record_settled(self, batch: Sequence[Settled]) -> None:
        """Samples the traces of settled messages. Workers call it after each commit."""
        now = self._clock.time()
        for settled in batch:
            self.tail_sampler.sample_message(settled, now)

    async def prune_feed(self) -> None:
        """Deletes old changes from the change feed every minute, until cancelled."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            before = self._clock.time() - change_feed.RETENTION_SECONDS
            with suppress_and_log("feed_prune_failed"):
                while await self._prune_batch(before) == change_feed.PRUNE_BATCH:
                    pass

    async def _prune_batch(self, before: float) -> int:
        return await self.database.write("feed", partial(change_feed.prune, before=before))

    async def check_telegram(self) -> Measurement:
        """Health probe: getMe, timed. A refused bot is critical: nothing can be delivered."""
        return await self.check_bot(self.sender, Level.CRITICAL)

    async def check_bot(self, sender: MessageSender, refused: Level = Level.UNHEALTHY) -> Measurement:
        """Health probe of one bot.

        Args:
            sender: of the bot.
            refused: level where Telegram refuses the bot's token.
        """
        start = self._clock.monotonic()
        found = await sender.check()
        seconds = self._clock.monotonic() - start
        if isinstance(found, Reason):
            self.metrics.observe_response("getMe", Outcome.NOT_SENT, seconds)
            level = refused if found in BOT_STOPS else Level.UNHEALTHY
            return Measurement(level, {"error": found.value})
        self.metrics.observe_response("getMe", Outcome.SENT, seconds)
        name = {"bot": f"@{found.username}"} if found is not None and found.username else {}
        return Measurement(Level.HEALTHY, {"response_time_ms": round(seconds * 1000, 1), **name})


@asynccontextmanager
async def open_outbox(
    settings: EngineSettings,
    *,
    database: Database,
    telemetry: Telemetry,
    metrics: OutboxMetrics,
    clock: Clock,
    sender: Sender,
    render: Render,
    bucket: Bucket | None = None,
    paid_bucket: Bucket | None = None,
    chat_pace: ChatPace | None = None,
    other_bots: Mapping[str, SendingBot[MessageSender]] | None = None,
    observer: Observer = ignore,
    rules: ChatRules = DEFAULT_RULES,
    prepare: Prepare = as_it_is,
) -> AsyncIterator[Outbox]:
    """Runs the engine while the block runs; at its end, messages in flight are finished and settled.

    Args:
        settings: of the engine.
        database: holds the tables of ``services.outbox``.
        telemetry: of the owning service.
        metrics: of the engine.
        clock: source of the time.
        sender: of the default bot.
        render: makes text and entities of a claimed message; pure.
        bucket: rate limit of the default bot; None: a local bucket.
        paid_bucket: rate limit of its paid messages; None: it pays for nothing.
        chat_pace: of its chats, shared with its other senders; None: none is.
        other_bots: further bots by name; each has a worker.
        observer: is called with each batch of settled messages, after its commit.
        rules: for muted chats and quiet hours.
        prepare: makes the files of a message ready before it is rendered.
    """
    outbox = Outbox(database=database, telemetry=telemetry, metrics=metrics, clock=clock, sender=sender)

    async def observe(batch: Sequence[Settled]) -> None:
        await outbox.record_settled(batch)
        await observer(batch)

    # One owner for all workers: with a single process, every other owner at startup is a previous run.
    owner = instance_name()

    def worker_of(name: str, bot: SendingBot[MessageSender]) -> Worker:
        free = bot.bucket or LocalBucket(bot.limits.bot_per_second, clock)
        return Worker(
            WorkerSettings(
                bot=name,
                owner=owner,
                concurrency=settings.concurrency,
                limits=bot.limits,
                policy=settings.policy,
            ),
            database=database,
            sender=bot.sender,
            render=bot.render or render,
            rates=BotRateLimiter(free, bot.paid_bucket),
            metrics=metrics,
            telemetry=telemetry,
            clock=clock,
            observer=observe,
            rules=rules,
            chat_pace=bot.chat_pace,
            prepare=prepare,
            shares_flood=bot.shares_flood,
        )

    default = SendingBot(sender, settings.limits, bucket, paid_bucket, chat_pace)
    bots: dict[str, SendingBot[MessageSender]] = {settings.bot_name: default, **(other_bots or {})}
    workers = [worker_of(name, bot) for name, bot in bots.items()]
    await database.write("feed", change_feed.repair_after_restore)
    async with AsyncExitStack() as stack:
        for bot in bots.values():
            await stack.enter_async_context(bot.sender)
        loops = (
            *(worker.run() for worker in workers),
            outbox.queue.run(),
            outbox.prune_feed(),
            outbox.tail_sampler.run(),
        )
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield outbox
        finally:
            await outbox.intake.close()
            for task in tasks:
                task.cancel()
            for ended in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(ended, Exception):
                    log.error("engine_failed", exc_info=ended)
