"""Leases: a living worker keeps its chats, and a dead one's are taken over.

What was under way when a worker died has an unknown outcome: its attempt is on disk, an answer is not.
What a living worker claimed without hearing of it was certainly not sent.
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
from services.outbox.chats import chat_queue
from services.outbox.delivery import claimed_rows, retry_policy, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.messages import Claimed, Outcome, Reason, Result, Settled
from services.outbox.rate_limit.token_bucket import Limits

log = structlog.get_logger()

RENEW_SECONDS = 5.0
#: How often it is looked where the clock stands: what is set forward and back in between is not seen.
LOOK_SECONDS = 0.25
#: A clock that is set back by less is not worth a look: every wait ends this much later.
CLOCK_STEP_SECONDS = 1.0


class Leases:
    """Keeps the leases of one worker and takes over those of workers that are gone.

    Args:
        database: of the queue.
        clock: the time.
        owner: the worker's name on its leases.
        limits: Telegram's rates for chats.
        policy: retries.
        taken_over: told of what a lost worker had under way, after it is durable.
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
        #: How far the wall clock was ahead of the one that never goes back, at most: since the last look, and
        #: before that, as what is under way writes its times later. Endless at the start: nobody looked.
        self._ahead = self._before = math.inf

    async def keep(self) -> None:
        """Renews and takes over until cancelled."""
        # At the start of the only process that there is, every lease is a dead one's.
        everyone = self._database.single_process
        while True:
            with suppress_and_log("lease_failed"):
                await self._take_over(all_leases=everyone)
                everyone = False
                await self._set_right()
                until = self._clock.time() + chat_queue.LEASE_SECONDS
                await self._database.write("renew", partial(settlement.renew, owner=self._owner, until=until))
            await self._watch_the_clock()

    async def give_up_unsent(self, bot: str, held: Collection[int]) -> None:
        """Gives back what a claim took whose answer was lost on the way from the database.

        Args:
            bot: that this worker sends for.
            held: the chats that it knows to have.
        """
        await self._database.write("take_over", partial(self._unsent_in, bot=bot, held=held))
        self._database.wake_here(CHANNEL)

    def _unsent_in(self, connection: Connection, *, bot: str, held: Collection[int]) -> None:
        now = self._clock.time()
        chat_ids = settlement.leased(connection, bot, self._owner, held)
        unsent = [
            self._unsent(message, now) for message in claimed_rows.in_flight(connection, bot, chat_ids, now)
        ]
        if unsent:
            settlement.settle(connection, self._owner, unsent, self._limits, now)
        chat_queue.release(connection, bot, self._owner, chat_ids, now=now, pace=chat_queue.pace_of)

    def _unsent(self, message: Claimed, now: float) -> Settled:
        detail = "the database's answer to the claim was lost: nothing was sent"
        result = Result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, message.claimed_at, now, detail=detail)
        return Settled(message, result, retry_policy.as_it_was(message))

    async def _watch_the_clock(self) -> None:
        """For as long as it is to the next renewal."""
        for _ in range(round(RENEW_SECONDS / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            self._ahead = max(self._ahead, self._wall())

    def _wall(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    async def _set_right(self) -> None:
        """A clock that was set back leaves times that nobody meant: turns an hour from now, say."""
        wall = self._wall()
        back = max(self._ahead, self._before) - wall
        if back > CLOCK_STEP_SECONDS:
            longest = self._policy.backoff(30, 1.0)
            work = partial(settlement.clock_set_back, now=self._clock.time(), longest_wait=longest)
            await self._database.write("take_over", work)
            self._database.wake_here(CHANNEL)
        if CLOCK_STEP_SECONDS < self._ahead - wall < math.inf:
            log.warning("clock_set_back", seconds=round(self._ahead - wall, 1))
        self._ahead, self._before = wall, self._ahead

    async def _take_over(self, *, all_leases: bool) -> None:
        taken = await self._database.write("take_over", partial(self._in_transaction, all_leases=all_leases))
        # Chats that were given back have their turn.
        self._database.wake_here(CHANNEL)
        for settled in taken:
            log.warning("outcome_unknown", message_id=settled.message.id, reason=settled.result.reason.value)
        if taken:
            await self._taken_over(taken)

    def _in_transaction(self, connection: Connection, *, all_leases: bool) -> list[Settled]:
        now = self._clock.time()
        taken: list[Settled] = []
        for bot, owner, chat_ids in settlement.abandoned(
            connection, now, but=self._owner, all_leases=all_leases
        ):
            orphans = claimed_rows.in_flight(connection, bot, chat_ids, now)
            settled = [self._lost(message, now) for message in orphans]
            if settled:
                settlement.settle(connection, owner, settled, self._limits, now)
            chat_queue.release(connection, bot, owner, chat_ids, now=now, pace=chat_queue.pace_of)
            taken.extend(settled)
        return taken

    def _lost(self, message: Claimed, now: float) -> Settled:
        detail = "the worker stopped before Telegram's answer was written"
        result = Result(Outcome.UNKNOWN, Reason.WORKER_LOST, message.claimed_at, now, detail=detail)
        jitter = random.random()  # noqa: S311 - spreads retries, keeps no secret
        return Settled(message, result, retry_policy.decide(self._policy, message, result, 1, jitter))
