"""Leases: renews the leases of this worker, and takes over the chats of lost workers.

An open attempt of a lost worker has the outcome unknown: it was written before the call, and no answer
was. A message of a claim whose commit this worker could not confirm was certainly not sent.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Collection, Sequence
from functools import partial

import structlog
from sqlalchemy import Connection

from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.database.interface import StoreUnavailableError
from services.outbox.chats import chat_queue
from services.outbox.delivery import claimed_rows, retry_policy, settlement
from services.outbox.delivery.one_by_one import OneByOne
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.messages import Claimed, MessageState, Outcome, Reason, Result, Settled
from services.outbox.rate_limit.limits import Limits

log = structlog.get_logger()

RENEW_SECONDS = 5.0
#: Clock sampling interval; a clock that is set forward and back within it goes unnoticed.
CLOCK_SAMPLE_SECONDS = 0.25
#: A clock that is set back by less is ignored: waits end that much later.
CLOCK_STEP_SECONDS = 1.0


class Leases:
    """Renews the leases of one worker and takes over those of lost workers.

    Args:
        database: of the queue.
        clock: the time.
        owner: the worker's name on its leases.
        limits: Telegram's rates for chats.
        policy: retries.
        taken_over: called with the open attempts of a lost worker, after the commit.
    """

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        owner: str,
        limits: Limits,
        policy: Policy,
        taken_over: Callable[[Sequence[Settled]], Awaitable[None]],
    ) -> None:
        self._database = database
        self._clock = clock
        self._owner = owner
        self._limits = limits
        self._policy = policy
        self._taken_over = taken_over
        #: The largest lead of the wall clock over the monotonic clock since the last renewal, and before it,
        #: because open transactions write their times later. Infinite at the start: not measured yet.
        self._ahead = self._before = math.inf

    async def run(self) -> None:
        """Renews and takes over until cancelled."""
        # With a single process, every lease found at the start belongs to an earlier run.
        all_leases = self._database.single_process
        while True:
            with suppress_and_log("take_over_failed"):
                await self._take_over(all_leases=all_leases)
                all_leases = False
            with suppress_and_log("lease_failed"):
                await self._correct_waits()
                until = self._clock.time() + chat_queue.LEASE_SECONDS
                await self._database.write("renew", partial(settlement.renew, owner=self._owner, until=until))
            await self._sample_clock()

    async def release_unsent(self, bot: str, known: Collection[int]) -> None:
        """Releases the chats of a claim that failed, where the database committed it all the same.

        Args:
            bot: that this worker sends for.
            known: ids of the chats that this worker knows to have leased.
        """
        await self._database.write("take_over", partial(self._release_unsent, bot=bot, known=known))
        self._database.notify_local(CHANNEL)

    def _release_unsent(self, connection: Connection, *, bot: str, known: Collection[int]) -> None:
        now = self._clock.time()
        chat_ids = settlement.leased(connection, bot, self._owner, known)
        unsent = [
            self._unsent(message, now) for message in claimed_rows.in_flight(connection, bot, chat_ids, now)
        ]
        if unsent:
            settlement.settle(connection, self._owner, unsent, self._limits, now)
        chat_queue.release(connection, bot, self._owner, chat_ids, now=now, pace=chat_queue.pace_of)

    def _unsent(self, message: Claimed, now: float) -> Settled:
        detail = "the database's answer to the claim was lost: nothing was sent"
        result = Result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, message.claimed_at, now, detail=detail)
        return Settled(message, result, retry_policy.unsent(message))

    async def _sample_clock(self) -> None:
        """Measures the wall clock's lead until the next renewal."""
        for _ in range(round(RENEW_SECONDS / CLOCK_SAMPLE_SECONDS)):
            await asyncio.sleep(CLOCK_SAMPLE_SECONDS)
            self._ahead = max(self._ahead, self._wall_lead())

    def _wall_lead(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    async def _correct_waits(self) -> None:
        """Shortens the waits in the database if the clock was set back since the last renewal."""
        lead = self._wall_lead()
        back = max(self._ahead, self._before) - lead
        if back > CLOCK_STEP_SECONDS:
            longest = self._policy.backoff(30, 1.0)
            work = partial(settlement.clock_set_back, now=self._clock.time(), longest_wait=longest)
            await self._database.write("take_over", work)
            self._database.notify_local(CHANNEL)
        if CLOCK_STEP_SECONDS < self._ahead - lead < math.inf:
            log.warning("clock_set_back", seconds=round(self._ahead - lead, 1))
        self._ahead, self._before = lead, self._ahead

    async def _take_over(self, *, all_leases: bool) -> None:
        try:
            taken = await self._database.write("take_over", partial(self._settle_lost, all_leases=all_leases))
        except StoreUnavailableError:
            raise
        except Exception:
            log.exception("take_over_failed")
            taken = await self._take_over_one_by_one(all_leases=all_leases)
        # Chats that were released can be claimed.
        self._database.notify_local(CHANNEL)
        for settled in taken:
            if settled.result.outcome is Outcome.UNKNOWN:
                log.warning(
                    "outcome_unknown", message_id=settled.message.id, reason=settled.result.reason.value
                )
        if taken:
            await self._taken_over(taken)

    async def _take_over_one_by_one(self, *, all_leases: bool) -> list[Settled]:
        """Takes over a chat at a time: one whose messages cannot be read does not stop the others."""
        late = partial(settlement.abandoned, except_owner=self._owner, all_leases=all_leases)
        found = await self._database.write("take_over", partial(late, now=self._clock.time()))
        taken: list[Settled] = []
        for bot, owner, chat_ids in found:
            lost = OneByOne(self._database, self._clock, owner, self._limits)
            for chat_id in chat_ids:
                work = partial(self._settle_lost, all_leases=all_leases, only=(bot, chat_id))
                taken += await lost.take_over(bot, chat_id, work, [MessageState.SENDING])
        return taken

    def _settle_lost(
        self, connection: Connection, *, all_leases: bool, only: chat_queue.ChatKey | None = None
    ) -> list[Settled]:
        now = self._clock.time()
        taken: list[Settled] = []
        for bot, owner, chat_ids in settlement.abandoned(
            connection, now, except_owner=self._owner, all_leases=all_leases, only=only
        ):
            orphans = claimed_rows.in_flight(connection, bot, chat_ids, now)
            settled = [self._lost(message, now) for message in orphans]
            if settled:
                settlement.settle(connection, owner, settled, self._limits, now)
            chat_queue.release(connection, bot, owner, chat_ids, now=now, pace=chat_queue.pace_of)
            taken.extend(settled)
        return taken

    def _lost(self, message: Claimed, now: float) -> Settled:
        if any(one.is_awaited for one in message.files):
            # Telegram is called once all files are there.
            outcome, reason, detail = Outcome.NOT_SENT, Reason.FILE_NOT_READY, "the worker stopped"
        else:
            outcome, reason = Outcome.UNKNOWN, Reason.WORKER_LOST
            detail = "the worker stopped before Telegram's answer was written"
        result = Result(outcome, reason, message.claimed_at, now, detail=detail)
        jitter = random.random()  # noqa: S311 - spreads retries; no secret
        return Settled(message, result, retry_policy.decide(self._policy, message, result, 1, jitter))
