"""Of the replicas that receive the updates of a bot, one is the leader."""

from functools import partial

from services.kit.database import leader_lease
from services.kit.database.connect import open_database
from services.kit.telemetry.telemetry import Telemetry
from services.updates.receiver import LEASE_SECONDS, lease_name
from tests.servers import ManualClock


async def test_the_lease_of_a_replica_that_died_is_taken_after_its_end(
    empty_database_url: str, telemetry: Telemetry, clock: ManualClock
) -> None:
    database = await open_database(empty_database_url, telemetry, packages=[leader_lease.PACKAGE])

    async def lead(owner: str) -> bool:
        work = partial(
            leader_lease.take,
            name=lease_name("default"),
            owner=owner,
            now=clock.time(),
            seconds=LEASE_SECONDS,
        )
        return await database.write("lead", work)

    assert await lead("one")
    assert not await lead("two")
    clock.advance(LEASE_SECONDS - 1)
    assert await lead("one")
    assert not await lead("two")
    clock.advance(LEASE_SECONDS + 1)
    assert await lead("two")
    assert not await lead("one")
    await database.close()
