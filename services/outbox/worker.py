"""The loop: claim what may leave now, send it, settle what came of it.

One worker sends for one bot. It claims no more than it can send at once, so that a crash leaves
few messages whose fate is unknown; a claim that finds nothing sleeps until there is news.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog
from sqlalchemy import Connection, select

from services.kit.clock import Clock
from services.kit.db import Database
from services.kit.errors import Problem
from services.kit.telemetry import Telemetry
from services.outbox import claims, feed, policy, settling, trace
from services.outbox.claims import Batch, Holds, Mutes, never, not_urgent
from services.outbox.intake import CHANNEL
from services.outbox.leases import Leases
from services.outbox.limiter import Floods, Granted, Limits, Rates
from services.outbox.messages import (
    Claimed,
    Lane,
    Outcome,
    Reason,
    Rendered,
    Result,
    Settled,
    State,
)
from services.outbox.metrics import OutboxMetrics
from services.outbox.policy import Policy
from services.outbox.schema import bot as bot_table
from services.outbox.telegram import Sender, method_of, with_room
from services.outbox.turns import Turns

log = structlog.get_logger()

POLL_SECONDS = 1.0
PROBE_STOPPED_SECONDS = 30.0
#: How long the first answer of several waits for the next, to be written with them.
TOGETHER_SECONDS = 0.01

Render = Callable[[Claimed], Rendered]
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
        self._render = render
        self._pace = pace
        self._metrics = metrics
        self._telemetry = telemetry
        self._clock = clock
        self._observer = observer
        self._mutes = mutes
        self._turns = Turns()
        self._holds = holds
        self._in_flight: set[asyncio.Task[None]] = set()
        self._claiming: asyncio.Task[Batch] | None = None
        #: The chat of each attempt that is this worker's, from its claim to its settling.
        self._held: dict[tuple[int, int], int] = {}
        #: Whether a claim failed: the database may have it, though this worker has not.
        self._unsure = False
        self._finished: list[Settled] = []
        self._has_finished = asyncio.Event()
        self._enough_finished = asyncio.Event()
        self._unanswered = 0
        self._paced_since: float | None = None
        self._floods = Floods()
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
        self.stopped = await self._database.read("bot", self._stopped_in)
        settler = asyncio.create_task(self._settle_finished())
        keeper = asyncio.create_task(self._leases.keep())
        try:
            with self._database.news(CHANNEL) as news:
                while True:
                    await self._once(news)
        finally:
            keeper.cancel()
            if self._claiming is not None:
                await asyncio.gather(self._claiming, return_exceptions=True)
            await asyncio.gather(*self._in_flight, return_exceptions=True)
            settler.cancel()
            await asyncio.gather(settler, keeper, return_exceptions=True)
            await self._settle_now()

    async def _once(self, news: asyncio.Event) -> None:
        try:
            if self.stopped is not None:
                await self._probe()
            else:
                await self._claim_and_send(news)
        except Problem as problem:
            log.warning("claim_failed", error=str(problem))
            await asyncio.sleep(POLL_SECONDS)
        except Exception:
            log.exception("worker_failed")
            await asyncio.sleep(POLL_SECONDS)

    async def _claim_and_send(self, news: asyncio.Event) -> None:
        room = self._settings.concurrency - len(self._in_flight)
        # Few at a time cost as much as many: wait until half the room is free.
        if room < self._settings.concurrency / 2:
            await asyncio.wait(self._in_flight, return_when=asyncio.FIRST_COMPLETED)
            return
        granted = await self._pace.reserve(room)
        if not granted.all:
            self._paced_since = self._paced_since or self._clock.time()
            await asyncio.sleep(self._pace.wait_seconds())
            return
        # Before the look: what comes meanwhile must not be slept through.
        news.clear()
        # Not to be torn apart by a stop: what is claimed would count as perhaps sent.
        self._claiming = asyncio.create_task(self._claim_and_start(granted))
        batch = await asyncio.shield(self._claiming)
        if not batch.messages:
            # Only paid ones could go, and none is bulk: others wait for the free rate, not for their turn.
            free_at = self._clock.time() + self._pace.wait_seconds()
            await self._rest(news, batch.next_at if granted.free else free_at)

    async def _claim_and_start(self, granted: Granted) -> Batch:
        if self._unsure:
            await self._leases.give_up_unsent(self._settings.bot, set(self._held.values()))
        self._unsure = True
        batch = await self._claim(granted)
        self._unsure = False
        self._held |= {(message.seq, message.attempt): message.chat_id for message in batch.messages}
        bulk = sum(message.lane is Lane.BULK for message in batch.messages)
        await self._pace.give_back(granted, len(batch.messages), bulk)
        if len(batch.messages) < granted.all:
            self._paced_since = None
        self._unanswered += len(batch.messages)
        for message in batch.messages:
            task = asyncio.create_task(self._deliver(message))
            self._in_flight.add(task)
            task.add_done_callback(self._in_flight.discard)
        if batch.messages or batch.ended:
            self._database.wake_here(feed.CHANNEL)
        if batch.ended:
            await self._tell_ended(batch.ended)
        return batch

    async def _tell_ended(self, ended: Sequence[Settled]) -> None:
        """What ended without being tried is counted and told as everything else is."""
        now = self._clock.time()
        for settled in ended:
            self._count(settled, now)
            trace.tell_ended(self._telemetry, settled, now)
        await self._tell(ended)

    async def _rest(self, news: asyncio.Event, next_at: float | None) -> None:
        """Until there is news, or a chat's next turn comes; at most the poll interval."""
        seconds = POLL_SECONDS if next_at is None else min(POLL_SECONDS, next_at - self._clock.time())
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await news.wait()

    async def _claim(self, granted: Granted) -> Batch:
        settings = self._settings
        return await self._database.write(
            "claim",
            partial(
                claims.claim,
                bot=settings.bot,
                owner=settings.owner,
                limit=granted.free,
                paid=granted.paid,
                now=self._clock.time(),
                paced_since=self._paced_since,
                mutes=self._mutes,
                turns=self._turns,
                holds=self._holds,
            ),
        )

    async def _deliver(self, message: Claimed) -> None:
        self._metrics.limiter_wait.observe(message.limiter_wait)
        try:
            rendered = self._render(message)
            message = with_room(message, rendered)
            method = method_of(message, rendered)
        except Exception as error:
            log.exception("render_failed", message_id=message.id)
            now = self._clock.time()
            detail = f"{type(error).__name__}: {error}"
            await self._finish(
                message, Result(Outcome.NOT_SENT, Reason.RENDER_FAILED, now, now, detail=detail), 1
            )
            return
        result = await self._send(message, rendered)
        self._metrics.api_response.labels(method, result.outcome.value).observe(
            result.finished_at - result.started_at
        )
        await self._finish(message, result, len(rendered.parts))

    async def _send(self, message: Claimed, rendered: Rendered) -> Result:
        started = self._clock.time()
        try:
            return await self._sender.send(message, rendered)
        except Exception as error:
            log.exception("send_failed", message_id=message.id)
            detail = f"{type(error).__name__}: {error}"
            return Result(Outcome.UNKNOWN, Reason.BAD_ANSWER, started, self._clock.time(), detail=detail)

    async def _finish(self, message: Claimed, result: Result, parts: int) -> None:
        jitter = random.random()  # noqa: S311 - spreads retries, keeps no secret
        decision = policy.decide(self._settings.policy, message, result, parts, jitter)
        if decision.stop_bot is not None:
            self.stopped = decision.stop_bot
            log.error("bot_stopped", reason=decision.stop_bot.value, detail=result.detail)
        if decision.pause_chat_until:
            await self._widen(message.chat_id, decision.pause_chat_until)
        self._finished.append(Settled(message, result, decision, parts))
        self._unanswered -= 1
        self._has_finished.set()
        if not self._unanswered or len(self._finished) >= self._settings.concurrency / 4:
            self._enough_finished.set()

    async def _widen(self, chat_id: int, until: float) -> None:
        """A second chat that is refused in the same while: Telegram means the bot."""
        now = self._clock.time()
        bot_until = self._floods.told(chat_id, until=until, now=now)
        if bot_until is not None:
            log.warning("bot_paused", seconds=round(bot_until - now, 1))
            await self._pace.pause(bot_until - now)

    async def _settle_finished(self) -> None:
        while True:
            await self._has_finished.wait()
            # A transaction for one costs as much as for many: those that are nearly here share it.
            with suppress(TimeoutError):
                async with asyncio.timeout(TOGETHER_SECONDS):
                    await self._enough_finished.wait()
            try:
                await self._settle_now()
            except Problem as problem:
                log.warning("settle_failed", error=str(problem))
                await asyncio.sleep(POLL_SECONDS)
            except Exception:
                log.exception("settle_failed")
                await asyncio.sleep(POLL_SECONDS)

    async def _settle_now(self) -> None:
        """Writes all that is finished in one transaction; what fails to be written is kept."""
        self._has_finished.clear()
        self._enough_finished.clear()
        if not self._finished:
            return
        batch, self._finished = self._finished, []
        now = self._clock.time()
        try:
            lost = await self._database.write(
                "settle",
                partial(
                    settling.settle,
                    owner=self._settings.owner,
                    settled=batch,
                    limits=self._settings.limits,
                    now=now,
                ),
            )
        except BaseException:
            self._finished = batch + self._finished
            self._has_finished.set()
            raise
        for settled in batch:
            del self._held[settled.message.seq, settled.message.attempt]
        # The chats that are free again may have a next message, for this very worker.
        self._database.wake_here(CHANNEL)
        self._database.wake_here(feed.CHANNEL)
        for settled in batch:
            if settled.message.seq in lost:
                log.warning("taken_over", message_id=settled.message.id, outcome=settled.result.outcome.value)
            else:
                self._count(settled, now)
        trace.tell_attempts(self._telemetry, batch, now)
        await self._tell([settled for settled in batch if settled.message.seq not in lost])

    async def _tell(self, batch: Sequence[Settled]) -> None:
        try:
            await self._observer(batch)
        except Exception:
            log.exception("observer_failed")

    def _count(self, settled: Settled, now: float) -> None:
        reason = settled.result.reason.value
        if settled.result.outcome is Outcome.UNKNOWN:
            self._metrics.unknown.labels(reason).inc()
        match settled.decision.state:
            case State.DELIVERED:
                self._metrics.delivered.inc()
                self._metrics.duration.observe(now - settled.message.entered_at)
            case State.SUPPRESSED if settled.result.reason is Reason.MUTED:
                # Its people asked for it: no failure, or a mute would raise an alert.
                self._metrics.muted.inc()
            case State.DEAD_LETTER | State.UNKNOWN | State.EXPIRED | State.SUPPRESSED:
                self._metrics.failed.labels(reason).inc()
                if settled.decision.state is State.DEAD_LETTER:
                    self._metrics.dead_letters.labels(reason).inc()
            case State.RETRY_WAIT:
                self._metrics.retries.labels(reason).inc()

    async def _taken_over(self, taken: Sequence[Settled]) -> None:
        now = self._clock.time()
        for settled in taken:
            self._count(settled, now)
        trace.tell_attempts(self._telemetry, taken, now)
        await self._tell(taken)

    def _stopped_in(self, connection: Connection) -> Reason | None:
        query = select(bot_table.c.stopped).where(bot_table.c.name == self._settings.bot)
        reason = connection.execute(query).scalar()
        return Reason(reason) if reason else None

    async def _probe(self) -> None:
        """Asks Telegram whether it takes the bot again; its queue is kept meanwhile."""
        reason = await self._sender.check()
        if reason is None:
            await self._database.write("bot", partial(settling.start_bot, name=self._settings.bot))
            log.info("bot_started")
            self.stopped = None
        else:
            await asyncio.sleep(PROBE_STOPPED_SECONDS)
