"""Keys that are not in memory are looked up, at a limited rate."""

from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from services.bridge.keys import keys, store
from services.bridge.keys.lookup import BURST, LOOKUPS_PER_SECOND, UNKNOWN_SECONDS, KeyLookup
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry
from tests.bridge.keys.test_keys import key
from tests.servers import ManualClock


def reads(registry: CollectorRegistry) -> float:
    return registry.get_sample_value("database_query_duration_seconds_count", {"operation": "other"}) or 0.0


@pytest.fixture
def lookup(database: Database, clock: ManualClock) -> KeyLookup:
    return KeyLookup(database, clock)


async def test_a_stored_key_is_found_by_digest_and_by_id(
    lookup: KeyLookup, database: Database, clock: ManualClock
) -> None:
    stored = key("cct_stored", expires_at=clock.time() + 10)
    await database.write("key_write", partial(store.add, key=stored))
    assert await lookup.exists(stored.digest)
    assert await lookup.exists(stored.id)
    assert not await lookup.exists(keys.digest_of("cct_other"))
    clock.advance(10)
    assert not await lookup.exists(stored.digest)


async def test_unknown_keys_cannot_load_the_database(
    lookup: KeyLookup, clock: ManualClock, telemetry: Telemetry
) -> None:
    before = reads(telemetry.registry)
    for number in range(1_000):
        assert not await lookup.exists(f"unknown {number}")
    assert reads(telemetry.registry) == before + BURST
    clock.advance(1)
    for number in range(1_000, 2_000):
        assert not await lookup.exists(f"unknown {number}")
    assert reads(telemetry.registry) == before + BURST + LOOKUPS_PER_SECOND


async def test_an_old_key_of_a_program_is_looked_up_once_a_minute(
    lookup: KeyLookup, clock: ManualClock, telemetry: Telemetry
) -> None:
    before = reads(telemetry.registry)
    for _ in range(59):
        assert not await lookup.exists("old")
        clock.advance(UNKNOWN_SECONDS / 60)
    assert reads(telemetry.registry) == before + 1
    clock.advance(UNKNOWN_SECONDS / 60)
    assert not await lookup.exists("old")
    assert reads(telemetry.registry) == before + 2


async def test_while_the_database_is_down_an_unknown_key_stays_unknown(
    lookup: KeyLookup, database: Database
) -> None:
    await database.close()
    assert not await lookup.exists("unknown")
