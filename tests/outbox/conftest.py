"""The engine's units of work, each as a function call."""

from collections.abc import Sequence
from functools import partial

import pytest

from services.kit.database import migrate
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.chats import chat_queue
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.claims import ClaimedBatch
from services.outbox.delivery.retry_policy import Policy
from services.outbox.intake import enqueue
from services.outbox.messages import Claimed, Decision, Result, Settled, Submission
from services.outbox.queries import message_timeline
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.rate_limit.bot_rate_limiter import NOT_LIMITED, LimitedSince
from services.outbox.rate_limit.limits import Limits
from tests.servers import ManualClock

NO_LIMITS = Limits(0, 0, 1, 0)


class Desk:
    """Submits, claims and settles by hand, as intake and workers do, at the times of a manual clock."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock
        self.limits = NO_LIMITS
        self.policy = Policy(base=1.0)

    async def submit(self, *submissions: Submission) -> None:
        store = partial(enqueue.insert, submissions=submissions, now=self.clock.now)
        await self.database.write("enqueue", store)

    async def batch(
        self, owner: str = "w1", limit: int = 100, paced_since: LimitedSince = NOT_LIMITED, paid: int = 0
    ) -> ClaimedBatch:
        work = partial(
            claims.claim,
            bot="default",
            owner=owner,
            limit=limit,
            now=self.clock.now,
            paced_since=paced_since,
            paid=paid,
        )
        return await self.database.write("claim", work)

    async def claim(self, owner: str = "w1", limit: int = 100, paid: int = 0) -> list[Claimed]:
        return (await self.batch(owner, limit, paid=paid)).messages

    def decided(self, message: Claimed, result: Result, parts: int = 1) -> Settled:
        return Settled(message, result, retry_policy.decide(self.policy, message, result, parts, 0.5), parts)

    async def settle(self, *settled: Settled, owner: str = "w1") -> set[int]:
        work = partial(
            settlement.settle, owner=owner, settled=settled, limits=self.limits, now=self.clock.now
        )
        return await self.database.write("settle", work)

    async def finish(self, message: Claimed, result: Result, parts: int = 1, owner: str = "w1") -> Decision:
        settled = self.decided(message, result, parts)
        await self.settle(settled, owner=owner)
        return settled.decision

    async def life(self, message_id: str) -> MessageTimeline:
        life = await self.database.read("read", partial(message_timeline.timeline, message_id=message_id))
        assert life is not None
        return life

    async def state(self, message_id: str) -> str:
        return str((await self.life(message_id)).message["state"])

    async def states(self, messages: Sequence[Claimed]) -> list[str]:
        return [await self.state(message.id) for message in messages]

    async def abandoned(
        self, owner: str = "w2", *, all_leases: bool = False
    ) -> list[tuple[str, str, list[int]]]:
        work = partial(settlement.abandoned, now=self.clock.now, except_owner=owner, all_leases=all_leases)
        return await self.database.write("take_over", work)

    async def renew(self, owner: str) -> None:
        until = self.clock.now + chat_queue.LEASE_SECONDS
        await self.database.write("renew", partial(settlement.renew, owner=owner, until=until))


async def migrated_to(revision: str, url: str, telemetry: Telemetry) -> Database:
    """An open database with the engine's tables as they were at a revision."""
    database = await open_database(url, telemetry, packages=[])
    work = partial(migrate.upgrade, package="services.outbox", revision=revision)
    await database.write("migrate", work)
    return database


@pytest.fixture
def desk(database: Database, clock: ManualClock) -> Desk:
    return Desk(database, clock)
