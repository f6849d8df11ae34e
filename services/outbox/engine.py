"""The engine as its owner sees it: open it, enqueue, ask; it delivers meanwhile."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import structlog

from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement
from services.kit.instance import instance_name
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.delivery.attempts import Render
from services.outbox.delivery.claims import Holds, Mutes, never, not_urgent
from services.outbox.delivery.retry_policy import BOT_STOPS, Policy
from services.outbox.delivery.worker import Observer, Worker, WorkerSettings, ignore
from services.outbox.intake.enqueue import Intake, Receipt
from services.outbox.messages import Outcome, Settled, State, Submission
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import message_queries
from services.outbox.queries.queue_depth import Depth, depth
from services.outbox.queries.rolling_counts import HOUR, Tally
from services.outbox.rate_limit.token_bucket import BotPace, Limits, Pace, Rates
from services.outbox.telegram.sender import Sender
from services.outbox.tracing import message_spans
from services.outbox.tracing.tail_sampling import Keeper

log = structlog.get_logger()

#: Names of the engine's units of work, for the database's metrics.
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
MEASURE_SECONDS = 1.0
TIDY_SECONDS = 60.0
#: Counting a long queue takes a while: never more than this share of the time.
MEASURE_SHARE = 0.05
SLOW_QUEUE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """How the engine works; see :class:`services.outbox.rate_limit.token_bucket.Limits` and ``Policy``."""

    concurrency: int = 64
    limits: Limits = field(default_factory=Limits)
    policy: Policy = field(default_factory=Policy)
    bot_name: str = "default"


@dataclass(frozen=True, slots=True)
class Sending:
    """What the engine sends with for a further bot.

    Args:
        sender: the bot.
        limits: Telegram's rates for it and its chats.
        pace: its rate; unset: within this process.
        paid: what its bulk lane may send beyond that; None: nothing.
    """

    sender: Sender
    limits: Limits = field(default_factory=Limits)
    pace: Pace | None = None
    paid: Pace | None = None


class Outbox:
    """See the package. Made by :func:`open_outbox`."""

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
            database, clock, flushers=1 if database.single_process else 2, stored=self.stored
        )
        self.tally = Tally()
        self.depth: Depth | None = None
        self.keeper = Keeper(database, telemetry)
        self._telemetry = telemetry
        self._clock = clock

    async def enqueue(self, submission: Submission) -> Receipt:
        """Stores events and their messages; returns after the commit.

        Raises:
            Problem: as :meth:`services.outbox.intake.enqueue.Intake.enqueue`.
        """
        return await self.intake.enqueue(submission)

    def stored(self, submissions: Sequence[Submission], committed_at: float) -> None:
        """Counts and traces what a commit stored, also one of the owner's own."""
        stored = [
            pair
            for submission in submissions
            for pair in zip(submission.events, submission.messages, strict=True)
        ]
        for event, messages in stored:
            self.metrics.accepted.labels(event.type, event.category).inc(len(messages))
            self.keeper.accepted(event, committed_at)
        self.tally.accepted(committed_at, sum(len(messages) for _, messages in stored))
        message_spans.tell_accepted(self._telemetry, stored, committed_at)

    async def settled(self, batch: Sequence[Settled]) -> None:
        """The worker's observer: the tally of what finished, and the traces that are kept."""
        now = self._clock.time()
        for settled in batch:
            if settled.decision.state is State.DELIVERED:
                self.tally.delivered(now, now - settled.message.entered_at)
            elif settled.decision.state in message_queries.FAILED:
                self.tally.failed(now)
            self.keeper.settled(settled, now)

    async def tidy(self) -> None:
        """Keeps the feed to its length, until cancelled."""
        while True:
            await asyncio.sleep(TIDY_SECONDS)
            prune = partial(change_feed.prune, before=self._clock.time() - change_feed.KEEP_SECONDS)
            with suppress_and_log("tidy_failed"):
                more = True
                while more:
                    more = await self.database.write("feed", prune) == change_feed.PRUNED_AT_ONCE

    async def measure(self) -> None:
        """Keeps the queue's gauges, until cancelled."""
        restored = False
        while True:
            start = time.perf_counter()
            with suppress_and_log("measure_failed"):
                if not restored:
                    await self._restore()
                    restored = True
                await self._measure()
            took = time.perf_counter() - start
            await asyncio.sleep(max(MEASURE_SECONDS, took / MEASURE_SHARE))

    async def _restore(self) -> None:
        since = self._clock.time() - HOUR
        self.tally.restore(
            await self.database.read("depth", partial(message_queries.finished_since, since=since))
        )

    async def _measure(self) -> None:
        self.depth = await self.database.read("depth", partial(depth, now=self._clock.time()))
        for state, number in self.depth.by_state.items():
            self.metrics.queue_depth.labels(state).set(number)
        self.metrics.oldest_age.set(self.oldest_age or 0.0)
        self.metrics.active_correlations.set(self.depth.correlations)
        self.metrics.delivery_rate.percent = self.tally.delivery_rate_percent(self._clock.time())

    @property
    def oldest_age(self) -> float | None:
        """Seconds since that message could go which has waited longest; None when nothing waits."""
        oldest = self.depth.oldest if self.depth else None
        return None if oldest is None else max(0.0, self._clock.time() - oldest)

    async def check_database(self) -> Measurement:
        """A health probe."""
        seconds = await self.database.ping()
        promise = await self.database.promise()
        return Measurement(Level.HEALTHY, {"response_time_ms": round(seconds * 1000, 2), **promise})

    async def check_queue(self) -> Measurement:
        """A health probe: a queue whose oldest message waits long is degraded."""
        if self.depth is None:
            return Measurement(Level.UNKNOWN)
        age = self.oldest_age
        _, delivered = self.tally.per_second(self._clock.time())
        return Measurement(
            Level.DEGRADED if age is not None and age > SLOW_QUEUE_SECONDS else Level.HEALTHY,
            {
                "queue_depth": self.depth.waiting,
                "oldest_message_age_seconds": round(age, 1) if age is not None else 0.0,
                "processing_rate": f"{delivered:.1f}/sec",
            },
        )

    async def check_telegram(self) -> Measurement:
        """A health probe: getMe, timed. A refused bot is critical: nothing can be delivered."""
        return await self.check_bot(self.sender, Level.CRITICAL)

    async def check_bot(self, sender: Sender, refused: Level = Level.UNHEALTHY) -> Measurement:
        """A health probe of one of several bots; ``refused`` is how bad a refused token is."""
        start = self._clock.monotonic()
        reason = await sender.check()
        seconds = self._clock.monotonic() - start
        outcome = Outcome.SENT if reason is None else Outcome.NOT_SENT
        self.metrics.api_response.labels("getMe", outcome.value).observe(seconds)
        if reason is None:
            return Measurement(Level.HEALTHY, {"response_time_ms": round(seconds * 1000, 1)})
        level = refused if reason in BOT_STOPS else Level.UNHEALTHY
        return Measurement(level, {"error": reason.value})


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
    pace: Pace | None = None,
    paid: Pace | None = None,
    others: Mapping[str, Sending] | None = None,
    observer: Observer = ignore,
    mutes: Mutes = not_urgent,
    holds: Holds = never,
) -> AsyncIterator[Outbox]:
    """An engine that delivers while the block runs; at its end what is in flight is finished.

    Args:
        settings: how it works.
        database: that holds the tables of ``services.outbox``.
        telemetry: of the owning service.
        metrics: the engine's own.
        clock: the time.
        sender: the bot.
        render: makes text and entities of a claimed message; pure.
        pace: the bot's rate; unset: within this process.
        paid: what its bulk lane may send beyond that; None: nothing.
        others: further bots by name, each with a worker of its own.
        observer: told of everything that was settled, after it is durable.
        mutes: which messages a muted chat does not get.
        holds: how a chat's people want a message now, by the chat's settings.
    """
    outbox = Outbox(database=database, telemetry=telemetry, metrics=metrics, clock=clock, sender=sender)

    async def observe(batch: Sequence[Settled]) -> None:
        await outbox.settled(batch)
        await observer(batch)

    # One name for all of them: at the start of the only process that there is, every other is a dead one's.
    owner = instance_name()

    def worker_of(name: str, sending: Sending) -> Worker:
        return Worker(
            WorkerSettings(
                bot=name,
                owner=owner,
                concurrency=settings.concurrency,
                limits=sending.limits,
                policy=settings.policy,
            ),
            database=database,
            sender=sending.sender,
            render=render,
            pace=Rates(sending.pace or BotPace(sending.limits.bot_per_second, clock), sending.paid),
            metrics=metrics,
            telemetry=telemetry,
            clock=clock,
            observer=observe,
            mutes=mutes,
            holds=holds,
        )

    bots = {settings.bot_name: Sending(sender, settings.limits, pace, paid), **(others or {})}
    workers = [worker_of(name, sending) for name, sending in bots.items()]
    await database.write("feed", change_feed.mend)
    async with AsyncExitStack() as stack:
        for sending in bots.values():
            await stack.enter_async_context(sending.sender)
        loops = (*(worker.run() for worker in workers), outbox.measure(), outbox.tidy(), outbox.keeper.run())
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
