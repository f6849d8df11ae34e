"""The loop: claim what may leave now, send it, settle what came of it.

One worker sends for one bot. From a claim to its settling it has no more attempts than it can send at
once: so many, and no more, a crash leaves without a known outcome. What is finished is settled in the
transaction that claims what comes in its place; a claim that finds nothing sleeps until there is news.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection, select

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.chats import chat_state
from services.outbox.delivery import claims, settlement
from services.outbox.delivery.attempts import Attempts, Render
from services.outbox.delivery.claims import Batch, Holds, Mutes, never, not_urgent
from services.outbox.delivery.fair_queue import Turns
from services.outbox.delivery.leases import Leases
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.messages import Claimed, Lane, Reason, Settled
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit.token_bucket import NOT_PACED, Granted, Limits, Rates
from services.outbox.schema import bot as bot_table
from services.outbox.telegram.sender import Sender
from services.outbox.tracing import message_spans

log = structlog.get_logger()

POLL_SECONDS = 1.0
PROBE_STOPPED_SECONDS = 30.0
#: How long the first answer of several waits for the next, to be written with them.
TOGETHER_SECONDS = 0.02
_NOTHING = Granted(0)

#: Told after each settle, with what was settled.
Observer = Callable[[Sequence[Settled]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """How one worker works.

    Args:
        bot: name of the bot that it sends for.
        owner: unique name of this worker, on its leases.
        concurrency: calls to Telegram at once.
        limits: Telegram's rates for chats.
        policy: retries.
    """

    bot: str
    owner: str
    concurrency: int
    limits: Limits
    policy: Policy


async def ignore(_: Sequence[Settled]) -> None:
    """No observer."""


class Worker:
    def __init__(
        self,
        settings: WorkerSettings,
        *,
        database: Database,
        sender: Sender,
        render: Render,
        pace: Rates,
        metrics: OutboxMetrics,
        telemetry: Telemetry,
        clock: Clock,
        observer: Observer = ignore,
        mutes: Mutes = not_urgent,
        holds: Holds = never,
    ) -> None:
        self._settings = settings
        self._database = database
        self._sender = sender
        self._attempts = Attempts(
            sender=sender, render=render, policy=settings.policy, pace=pace, metrics=metrics, clock=clock
        )
        self._pace = pace
        self._metrics = metrics
        self._telemetry = telemetry
        self._clock = clock
        self._observer = observer
        self._mutes = mutes
        self._turns = Turns()
        self._holds = holds
        self._in_flight: set[asyncio.Task[None]] = set()
        self._turning: asyncio.Task[Batch] | None = None
        #: The chat of each attempt that is this worker's, from its claim to its settling.
        self._held: dict[tuple[int, int], int] = {}
        #: Whether a claim failed: the database may have it, though this worker has not.
        self._unsure = False
        self._unanswered = 0
        #: Few at a time cost as much as many: half the room is taken at once, and given back so.
        self._half = (settings.concurrency + 1) // 2
        self._finished: list[Settled] = []
        #: Whether what is finished has waited for long enough.
        self._is_late = False
        self._late: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()
        self._news = asyncio.Event()
        self._paced_since = NOT_PACED
        self._leases = Leases(
            database=database,
            clock=clock,
            owner=settings.owner,
            limits=settings.limits,
            policy=settings.policy,
            taken_over=self._taken_over,
        )
        #: Why the bot is stopped; None while it works.
        self.stopped: Reason | None = None

    async def run(self) -> None:
        """Works until cancelled; then what is in flight is finished and settled."""
        self.stopped, refused = await self._database.read("bot", self._known_of_the_bot)
        for chat_id, until in refused:
            await self._attempts.widen(chat_id, until)
        keeper = asyncio.create_task(self._leases.keep())
        try:
            with self._database.news(CHANNEL) as self._news:
                while True:
                    await self._once()
        finally:
            keeper.cancel()
            if self._turning is not None:
                await asyncio.gather(self._turning, return_exceptions=True)
            await asyncio.gather(keeper, *self._in_flight, return_exceptions=True)
            if self._finished:
                await self._turn(_NOTHING)

    async def _once(self) -> None:
        try:
            await self._work()
        except Problem as problem:
            log.warning("turn_failed", error=str(problem))
            await asyncio.sleep(POLL_SECONDS)
        except Exception:
            log.exception("worker_failed")
            await asyncio.sleep(POLL_SECONDS)

    async def _work(self) -> None:
        """Settles and claims, if there is reason to; else waits until there may be."""
        self._due.clear()
        granted, patience = await self._granted()
        if granted.all or self._is_settle_due():
            # Before the look: what comes meanwhile must not be slept through.
            self._news.clear()
            batch = await self._turn(granted)
            if granted.all and not batch.messages:
                # Only paid ones could go, and none is bulk: others wait for the free rate.
                free_at = self._clock.time() + self._pace.wait_seconds()
                await self._rest(batch.next_at if granted.free else free_at)
        else:
            await _wait(self._due, patience)

    async def _granted(self) -> tuple[Granted, float | None]:
        """How many may be claimed now; where none, after how many seconds to ask again."""
        if self.stopped is not None:
            return _NOTHING, 0.0 if self._is_settle_due() else await self._probe()
        room = self._room()
        if room < self._half:
            return _NOTHING, None
        granted = await self._pace.reserve(room)
        self._paced_since = self._paced_since.asked(granted, self._clock.time())
        return granted, None if granted.all else self._pace.wait_seconds()

    def _room(self) -> int:
        """What may be claimed by the transaction that settles all that is finished."""
        return self._settings.concurrency - self._unanswered

    def _is_settle_due(self) -> bool:
        if not self._finished:
            return False
        return self._is_late or not self._unanswered or len(self._finished) >= self._half

    async def _turn(self, granted: Granted) -> Batch:
        # Not to be torn apart by a stop: what is claimed would count as perhaps sent.
        self._turning = asyncio.create_task(self._settle_and_claim(granted))
        return await asyncio.shield(self._turning)

    async def _settle_and_claim(self, granted: Granted) -> Batch:
        if granted.all and self._unsure:
            await self._leases.give_up_unsent(self._settings.bot, set(self._held.values()))
        self._unsure = self._unsure or granted.all > 0
        settled, now = self._taken(), self._clock.time()
        work = partial(self._in_transaction, settled=settled, granted=granted, now=now)
        name = ("turn" if settled else "claim") if granted.all else "settle"
        try:
            lost, batch = await self._database.write(name, work)
        except BaseException:
            # It is kept, and tried again.
            self._finished, self._is_late = settled + self._finished, True
            raise
        if granted.all:
            self._unsure = False
            self._start(batch)
            bulk = sum(message.lane is Lane.BULK for message in batch.messages)
            self._paced_since = self._paced_since.claimed(granted, len(batch.messages), bulk)
            await self._pace.give_back(granted, len(batch.messages), bulk)
        if settled or batch.messages or batch.ended:
            self._database.wake_here(change_feed.CHANNEL)
        await self._tell_settled(settled, lost, now)
        if batch.ended:
            await self._tell_ended(batch.ended)
        return batch

    def _taken(self) -> list[Settled]:
        """All that is finished, to be settled."""
        if self._late is not None:
            self._late.cancel()
        settled, self._finished, self._is_late = self._finished, [], False
        return settled

    def _in_transaction(
        self, connection: Connection, *, settled: Sequence[Settled], granted: Granted, now: float
    ) -> tuple[set[int], Batch]:
        settings, lost, batch = self._settings, set[int](), Batch([])
        if settled:
            lost = settlement.settle(connection, settings.owner, settled, settings.limits, now)
        if granted.all:
            batch = claims.claim(
                connection,
                settings.bot,
                settings.owner,
                granted.free,
                paid=granted.paid,
                now=now,
                paced_since=self._paced_since,
                mutes=self._mutes,
                turns=self._turns,
                holds=self._holds,
            )
        return lost, batch

    def _start(self, batch: Batch) -> None:
        self._held |= {(message.seq, message.attempt): message.chat_id for message in batch.messages}
        self._unanswered += len(batch.messages)
        for message in batch.messages:
            self._metrics.limiter_wait.observe(message.limiter_wait)
            task = asyncio.create_task(self._deliver(message))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)

    async def _tell_ended(self, ended: Sequence[Settled]) -> None:
        """What ended without being tried is counted and told as everything else is."""
        now = self._clock.time()
        self._metrics.count(ended, now)
        for settled in ended:
            message_spans.tell_ended(self._telemetry, settled, now)
        await self._tell(ended)

    async def _rest(self, next_at: float | None) -> None:
        """Until there is news, or a chat's next turn comes; at most the poll interval."""
        seconds = POLL_SECONDS if next_at is None else min(POLL_SECONDS, next_at - self._clock.time())
        if seconds > 0:
            await _wait(self._news, seconds)

    async def _deliver(self, message: Claimed) -> None:
        settled = await self._attempts.make(message)
        self.stopped = settled.decision.stop_bot or self.stopped
        if not self._finished:
            self._late = asyncio.get_running_loop().call_later(TOGETHER_SECONDS, self._let_no_more_wait)
        self._finished.append(settled)
        self._unanswered -= 1
        if self._is_settle_due() or self._room() == self._half:
            self._wake()

    def _let_no_more_wait(self) -> None:
        self._is_late = True
        self._wake()

    def _wake(self) -> None:
        self._due.set()
        self._news.set()

    async def _tell_settled(self, batch: Sequence[Settled], lost: set[int], now: float) -> None:
        for settled in batch:
            del self._held[settled.message.seq, settled.message.attempt]
            if settled.message.seq in lost:
                log.warning("taken_over", message_id=settled.message.id, outcome=settled.result.outcome.value)
        if batch:
            ours = [settled for settled in batch if settled.message.seq not in lost]
            self._metrics.count(ours, now)
            message_spans.tell_attempts(self._telemetry, batch, now)
            await self._tell(ours)

    async def _tell(self, batch: Sequence[Settled]) -> None:
        try:
            await self._observer(batch)
        except Exception:
            log.exception("observer_failed")

    async def _taken_over(self, taken: Sequence[Settled]) -> None:
        now = self._clock.time()
        self._metrics.count(taken, now)
        message_spans.tell_attempts(self._telemetry, taken, now)
        await self._tell(taken)

    def _known_of_the_bot(self, connection: Connection) -> tuple[Reason | None, list[tuple[int, float]]]:
        """Why it is stopped, and which chats Telegram refuses for now: a restart forgets neither."""
        query = select(bot_table.c.stopped).where(bot_table.c.name == self._settings.bot)
        reason = connection.execute(query).scalar()
        refused = chat_state.refused_for_now(connection, self._settings.bot, self._clock.time())
        return (Reason(reason) if reason else None), refused

    async def _probe(self) -> float:
        """Asks Telegram whether it takes the bot again; its queue is kept meanwhile."""
        reason = await self._sender.check()
        if reason is not None:
            return PROBE_STOPPED_SECONDS
        await self._database.write("bot", partial(settlement.start_bot, name=self._settings.bot))
        log.info("bot_started")
        self.stopped = None
        return 0.0


async def _wait(event: asyncio.Event, seconds: float | None) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
