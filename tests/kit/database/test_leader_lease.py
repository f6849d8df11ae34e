"""A leader lease has one valid owner; its row stores the last success and the position, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.kit.database import leader_lease
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from tests.outbox.test_schema import differences

NOW, SECONDS = 1_000.0, 15.0


@pytest.fixture
async def leases(empty_database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    opened = await open_database(empty_database_url, telemetry, packages=[leader_lease.PACKAGE])
    yield opened
    await opened.close()


async def test_the_migrated_database_is_the_schema(leases: Database) -> None:
    compare = partial(differences, tables={"leader_lease"}, metadata=leader_lease.metadata)
    assert await leases.read("read", compare) == []


async def take(leases: Database, owner: str, now: float = NOW, *, alone: bool = False) -> bool:
    work = partial(leader_lease.take, name="task", owner=owner, now=now, seconds=SECONDS, alone=alone)
    return await leases.write("lease", work)


async def test_of_concurrent_replicas_one_takes_the_lease(leases: Database) -> None:
    taken = await asyncio.gather(*(take(leases, f"replica-{number}") for number in range(5)))
    assert taken.count(True) == 1


async def test_the_owner_renews_its_lease_and_others_wait_for_its_end(leases: Database) -> None:
    assert await take(leases, "one")
    assert await take(leases, "one", NOW + 10)
    assert not await take(leases, "two", NOW + SECONDS + 1)
    assert await take(leases, "two", NOW + 10 + SECONDS + 1)
    assert not await take(leases, "one", NOW + 10 + SECONDS + 1)


async def test_a_single_process_takes_the_lease_of_a_previous_run(leases: Database) -> None:
    assert await take(leases, "previous")
    assert await take(leases, "next", alone=True)


async def test_a_released_lease_is_free_and_only_its_owner_can_release_it(leases: Database) -> None:
    assert await take(leases, "one")
    await leases.write("lease", partial(leader_lease.release, name="task", owner="two"))
    assert await leases.write("lease", partial(leader_lease.is_held, name="task", owner="one"))
    await leases.write("lease", partial(leader_lease.release, name="task", owner="one"))
    assert not await leases.write("lease", partial(leader_lease.is_held, name="task", owner="one"))
    assert await take(leases, "two")


async def test_the_next_leader_knows_the_last_success(leases: Database) -> None:
    read = partial(leader_lease.last_success, name="task")
    assert await leases.read("lease", read) is None
    await take(leases, "one")
    assert await leases.read("lease", read) is None
    await leases.write("lease", partial(leader_lease.record_success, name="task", now=NOW))
    await leases.write("lease", partial(leader_lease.release, name="task", owner="one"))
    await take(leases, "two")
    assert await leases.read("lease", read) == NOW


async def test_a_position_is_moved_only_from_where_it_was_read(leases: Database) -> None:
    create = partial(leader_lease.create, name="task", position="0")
    await leases.write("lease", create)
    advance = partial(leader_lease.advance, name="task", before="0")
    assert await leases.write("lease", partial(advance, after="5"))
    assert not await leases.write("lease", partial(advance, after="3"))
    await leases.write("lease", create)
    assert await leases.read("lease", partial(leader_lease.position, name="task")) == "5"
