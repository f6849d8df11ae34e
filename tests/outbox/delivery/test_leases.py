"""A clock that is set forward and back leaves nothing waiting for a time that nobody meant."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from services.kit.database.connect import Database
from services.outbox.delivery import leases
from services.outbox.delivery.leases import Leases
from services.outbox.delivery.retry_policy import Policy
from services.outbox.messages import Claimed, Outcome, Reason, Settled
from tests.outbox.conftest import NO_LIMITS, Desk
from tests.outbox.making import ADA, GRACE, each, result
from tests.servers import ManualClock, until

HOUR = 3_600.0


class WrongClock(ManualClock):
    """Its wall clock can be set, its other one cannot; it counts how often somebody looked since."""

    looks = 0
    ahead = 0.0

    def set(self, ahead: float) -> None:
        self.ahead, self.looks = ahead, 0

    def time(self) -> float:
        self.looks += 1
        return self.now + self.ahead

    async def until_seen(self, times: int = 1) -> None:
        async def seen() -> bool:
            return self.looks >= times

        await until(seen)


@asynccontextmanager
async def kept(database: Database, clock: WrongClock) -> AsyncIterator[None]:
    async def ignore(_: Sequence[Settled]) -> None:
        pass

    ours = Leases(
        database=database,
        clock=clock,
        owner="w1",
        limits=NO_LIMITS,
        policy=Policy(base=1.0),
        taken_over=ignore,
    )
    keeping = asyncio.create_task(ours.run())
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


async def test_a_clock_that_was_ahead_for_a_moment_between_two_looks_is_seen(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for what was under way meanwhile, and is written when all is right again."""
    monkeypatch.setattr(leases, "RENEW_SECONDS", 2.0)
    monkeypatch.setattr(leases, "CLOCK_SAMPLE_SECONDS", 0.02)
    clock = WrongClock(desk.clock.now)
    await desk.submit(each(["early"], chat_id=ADA), each(["late"], chat_id=GRACE))
    early, late = await desk.claim()
    refused = result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, finished_at=clock.now + HOUR)

    async def soon(message: Claimed) -> bool:
        return float((await desk.life(message.id)).message["due_at"]) < clock.now + HOUR / 2

    async with kept(desk.database, clock):
        # The looks at the start, which set everything right, are over.
        await clock.until_seen(250)
        clock.set(HOUR)
        await clock.until_seen()
        await desk.finish(early, refused)
        assert not await soon(early)
        clock.set(0)
        await until(partial(soon, early))
        await desk.finish(late, refused)
        await until(partial(soon, late))
