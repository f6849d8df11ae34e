"""The worker of one bot: paces, claims, sends and settles messages in a loop.

The results of attempts are settled in the transaction that claims the next messages. A worker never has
more open attempts than it can send at once: so many, at most, have an unknown outcome after a crash. A
claim that finds nothing waits until the queue changes.
"""

import asyncio
from contextlib import suppress
from functools import partial

import structlog

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.chats import chat_state
from services.outbox.delivery.attempts import Attempts, Prepare, as_it_is
from services.outbox.delivery.bot_state import BotState
from services.outbox.delivery.claims import ClaimedBatch
from services.outbox.delivery.leases import Leases
from services.outbox.delivery.message_sender import MessageSender
from services.outbox.delivery.plan import DEFAULT_RULES, ChatRules
from services.outbox.delivery.reports import Observer, Reports, ignore
from services.outbox.delivery.result_buffer import ResultBuffer
from services.outbox.delivery.transactions import Transactions, WorkerSettings
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.messages import Claimed, Lane
from services.outbox.messages.step import Render
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit.bot_rate_limiter import NOT_LIMITED, BotRateLimiter, Granted
from services.outbox.rate_limit.chat_pace import ChatPace

log = structlog.get_logger()

POLL_SECONDS = 1.0
_NOTHING = Granted(0)


class Worker:
    """Delivers the messages of one bot.

    Args:
        settings: of this worker.
        database: of the queue.
        sender: sends the messages.
        render: makes text and entities of a claimed message; pure.
        rates: the bot's rate.
        metrics: of the engine.
        telemetry: of the owning service.
        clock: the time.
        observer: called with the messages that were settled, after the commit.
        rules: for muted chats and quiet hours.
        chat_pace: of the bot's chats, shared with its other senders; None: none is.
        prepare: makes the files of a message ready before it is rendered.
        shares_flood: whether flood control of two chats at once means that of the whole bot.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        database: Database,
        sender: MessageSender,
        render: Render,
        rates: BotRateLimiter,
        metrics: OutboxMetrics,
        telemetry: Telemetry,
        clock: Clock,
        observer: Observer = ignore,
        rules: ChatRules = DEFAULT_RULES,
        chat_pace: ChatPace | None = None,
        prepare: Prepare = as_it_is,
        shares_flood: bool = True,
    ) -> None:
        self._settings = settings
        self._database = database
        self._rates = rates
        self._metrics = metrics
        self._clock = clock
        self._bot = BotState(settings.bot, database=database, sender=sender)
        self._attempts = Attempts(
            sender=sender,
            render=render,
            policy=settings.policy,
            rates=rates,
            metrics=metrics,
            clock=clock,
            prepare=prepare,
            shares_flood=shares_flood,
        )
        reports = Reports(metrics=metrics, telemetry=telemetry, clock=clock, observer=observer)
        self._leases = Leases(
            database=database,
            clock=clock,
            owner=settings.owner,
            limits=settings.limits,
            policy=settings.policy,
            taken_over=reports.taken_over,
        )
        self._results = ResultBuffer(settings.concurrency, self._wake)
        self._transactions = Transactions(
            settings,
            database=database,
            clock=clock,
            results=self._results,
            leases=self._leases,
            reports=reports,
            rules=rules,
            send=self._send,
            chat_pace=chat_pace,
        )
        self._paced_since = NOT_LIMITED
        self._sends: set[asyncio.Task[None]] = set()
        self._transaction: asyncio.Task[ClaimedBatch] | None = None
        self._results_due = asyncio.Event()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Works until cancelled; then finishes and settles the open attempts."""
        await self._bot.load()
        await self._load_floods()
        leases = asyncio.create_task(self._leases.run())
        try:
            with self._database.subscribe(CHANNEL) as self._changed:
                while True:
                    await self._cycle_safely()
        finally:
            leases.cancel()
            if self._transaction is not None:
                await asyncio.gather(self._transaction, return_exceptions=True)
            await asyncio.gather(leases, *self._sends, return_exceptions=True)
            if self._results:
                await self._settle_and_claim(_NOTHING)

    async def _load_floods(self) -> None:
        """Reads which chats are under flood control: a restart must not forget it."""
        work = partial(chat_state.flood_waits, bot=self._settings.bot, now=self._clock.time())
        for chat_id, until in await self._database.read("bot", work):
            await self._attempts.note_flood(chat_id, until)

    async def _cycle_safely(self) -> None:
        try:
            await self._cycle()
        except Problem as problem:
            log.warning("worker_cycle_failed", error=str(problem))
            await asyncio.sleep(POLL_SECONDS)
        except Exception:
            log.exception("worker_failed")
            await asyncio.sleep(POLL_SECONDS)

    async def _cycle(self) -> None:
        """Paces, then settles, claims and sends; waits where nothing can be sent or settled."""
        self._results_due.clear()
        granted, wait = await self._pace()
        if not granted.all and not self._results.is_due():
            await _wait(self._results_due, wait)
            return
        # Before the claim: a change during it must wake this worker.
        self._changed.clear()
        batch = await self._settle_and_claim(granted)
        if granted.all and not batch.messages:
            # Where only paid messages could go, and none is bulk, the others wait for the free rate.
            free_at = self._clock.time() + self._rates.wait_seconds()
            await self._wait_for_change(batch.next_at if granted.free else free_at)

    async def _pace(self) -> tuple[Granted, float | None]:
        """The number of messages that may be claimed; where it is 0, also the seconds until the next try."""
        if self._bot.stopped is not None:
            return _NOTHING, 0.0 if self._results.is_due() else await self._bot.probe()
        room = self._results.room()
        if not room:
            return _NOTHING, None
        granted = await self._rates.reserve(room)
        self._paced_since = self._paced_since.after_reserve(granted, self._clock.time())
        return granted, None if granted.all else self._rates.wait_seconds()

    async def _settle_and_claim(self, granted: Granted) -> ClaimedBatch:
        # Not cancelled by a stop: messages that are claimed and not sent would count as perhaps sent.
        self._transaction = asyncio.create_task(self._transact(granted))
        return await asyncio.shield(self._transaction)

    async def _transact(self, granted: Granted) -> ClaimedBatch:
        batch = await self._transactions.run(granted, self._paced_since)
        if granted.all:
            await self._give_back(granted, batch)
        return batch

    async def _give_back(self, granted: Granted, batch: ClaimedBatch) -> None:
        """Returns the tokens of messages that were granted and not claimed."""
        number = len(batch.messages)
        bulk = sum(message.lane is Lane.BULK for message in batch.messages)
        self._paced_since = self._paced_since.after_claim(granted, number, bulk)
        await self._rates.give_back(granted, number, bulk)

    def _send(self, batch: ClaimedBatch) -> None:
        """Starts an attempt for each message."""
        self._results.opened(len(batch.messages))
        for message in batch.messages:
            self._metrics.limiter_wait.observe(message.limiter_wait)
            task = asyncio.create_task(self._attempt(message))
            self._sends.add(task)
            task.add_done_callback(self._sends.discard)

    async def _attempt(self, message: Claimed) -> None:
        settled = await self._attempts.make(message)
        self._bot.stopped = settled.decision.stop_bot or self._bot.stopped
        self._results.add(settled)

    async def _wait_for_change(self, next_at: float | None) -> None:
        """Waits until the queue changes or the next chat can be claimed; at most the poll interval."""
        seconds = POLL_SECONDS if next_at is None else min(POLL_SECONDS, next_at - self._clock.time())
        if seconds > 0:
            await _wait(self._changed, seconds)

    def _wake(self) -> None:
        self._results_due.set()
        self._changed.set()


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
