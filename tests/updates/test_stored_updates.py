"""Each update is stored once and handled once; those that failed stay; on both databases."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.updates.stored_updates import schema, store
from tests.outbox.test_schema import differences
from tests.updates.making import states, text


@pytest.fixture
async def updates(empty_database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    opened = await open_database(empty_database_url, telemetry, packages=[schema.PACKAGE])
    yield opened
    await opened.close()


async def test_the_migrated_database_is_the_schema(updates: Database) -> None:
    compare = partial(differences, tables={"telegram_update"}, metadata=schema.metadata)
    assert await updates.read("read", compare) == []


async def test_of_concurrent_transactions_one_handles_an_update(updates: Database) -> None:
    """The mark that it is handled and its effects are one transaction."""
    await updates.write("updates", partial(store.add, bot="default", updates=[text(1, "hello")], now=1.0))
    (stored,) = await updates.read("read", partial(store.not_handled, bot="default", limit=10))
    taken = await asyncio.gather(
        *(updates.write("act", partial(store.mark_handled, seq=stored.seq, now=1.0)) for _ in range(5))
    )
    assert sorted(taken) == [False, False, False, False, True]


async def test_an_update_that_cannot_be_handled_is_stored_with_its_error(updates: Database) -> None:
    await updates.write(
        "updates", partial(store.add, bot="default", updates=[text(1, "bad"), text(2, "good")], now=1.0)
    )
    (bad, _) = await updates.read("read", partial(store.not_handled, bot="default", limit=10))
    await updates.write("f", partial(store.record_failure, seq=bad.seq, error="KeyError: 'x'", final=False))
    (again, _) = await updates.read("read", partial(store.not_handled, bot="default", limit=10))
    assert again.tries == 1
    await updates.write("f", partial(store.record_failure, seq=bad.seq, error="KeyError: 'x'", final=True))
    (good,) = await updates.read("read", partial(store.not_handled, bot="default", limit=10))
    assert good.update_id == 2
    assert await states(updates) == ["failed", "stored"]


async def test_old_updates_are_deleted_except_those_that_failed(updates: Database) -> None:
    received = [text(number, str(number)) for number in range(3)]
    await updates.write("u", partial(store.add, bot="default", updates=received, now=1.0))
    rows = await updates.read("r", partial(store.not_handled, bot="default", limit=10))
    await updates.write("u", partial(store.mark_handled, seq=rows[0].seq, now=2.0))
    await updates.write("u", partial(store.record_failure, seq=rows[1].seq, error="x", final=True))
    assert await updates.write("u", partial(store.delete_handled, before=100.0)) == 1
    assert await states(updates) == ["failed", "stored"]
