"""The health of a PostgreSQL database: read-only, full, restarted; and a busy one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from sqlalchemy import Connection, text

from services.kit.database.connect import StoreUnavailableError, open_database
from services.kit.database.postgres import PostgresDatabase
from services.kit.health import Level, Measurement
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from tests.disks import SmallDisk
from tests.servers import Postgres, until


async def opened(url: str, telemetry: Telemetry | None = None) -> PostgresDatabase:
    telemetry = telemetry or Telemetry("tests", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], pool_size=3)
    assert isinstance(database, PostgresDatabase)
    return database


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as made:
        yield made


@pytest.fixture
async def database(url: str, telemetry: Telemetry) -> AsyncIterator[PostgresDatabase]:
    database = await opened(url, telemetry)
    yield database
    await database.close()


def error_of(measured: Measurement) -> str:
    assert measured.level is Level.UNHEALTHY
    return str(measured.measured["error"])


def add(connection: Connection, size: int) -> None:
    """One row whose value PostgreSQL cannot compress."""
    value = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, :hashes) AS n)"
    insert = f"INSERT INTO idempotency VALUES ('tests', gen_random_uuid(), '', {value}, 0)"  # noqa: S608 - a constant
    connection.execute(text(insert), {"hashes": max(1, size // 32)})


async def test_a_database_that_works_says_how_durable_a_commit_is(database: PostgresDatabase) -> None:
    measured = await database.check()
    assert measured.level is Level.HEALTHY
    assert measured.measured.keys() == {"response_time_ms", "dialect", "address", "synchronous", "tls"}


async def test_pools_without_a_free_connection_are_healthy(
    database: PostgresDatabase, telemetry: Telemetry
) -> None:
    sleep = text("SELECT pg_sleep(600)")
    working = [
        asyncio.create_task(database.write("hold", lambda c: c.execute(sleep).scalar())) for _ in range(4)
    ]
    working += [asyncio.create_task(database.execute("hold", "SELECT pg_sleep(600)")) for _ in range(4)]

    async def all_in_use() -> bool:
        return telemetry.registry.get_sample_value("database_connections_active") == 6

    await until(all_in_use)
    assert (await database.check()).level is Level.HEALTHY
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)


async def test_a_read_only_database_is_unhealthy_before_a_write_fails(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    name = url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    _cut(postgres, name)
    assert "the database is read-only" in error_of(await database.check())
    postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    _cut(postgres, name)
    assert (await database.check()).level is Level.HEALTHY


async def test_a_write_that_a_read_only_database_refused_stands_until_writes_succeed(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    name = url.rpartition("/")[2]
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    _cut(postgres, name)
    with pytest.raises(StoreUnavailableError, match="read-only transaction"):
        await database.execute("add", "INSERT INTO bot VALUES ('one')")
    assert database.failures.standing is not None
    postgres.sql(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    _cut(postgres, name)
    assert (await database.check()).level is Level.HEALTHY
    assert database.failures.standing is None


def _cut(postgres: Postgres, name: str) -> None:
    """Ends all connections to a database: the next ones have its present settings."""
    postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")  # noqa: S608 - our own name


async def test_a_look_takes_another_connection_where_its_own_was_cut(
    database: PostgresDatabase, postgres: Postgres, url: str
) -> None:
    assert (await database.check()).level is Level.HEALTHY
    _cut(postgres, url.rpartition("/")[2])
    assert (await database.check()).level is Level.HEALTHY


async def test_a_table_that_is_gone_is_unhealthy(database: PostgresDatabase) -> None:
    await database.write("drop", lambda c: c.execute(text("DROP TABLE outbox_version")))
    assert error_of(await database.check()) == 'relation "outbox_version" does not exist'


async def test_a_full_disk_is_unhealthy_until_there_is_room_again(
    postgres: Postgres, small_disk: SmallDisk
) -> None:
    small_disk.give_to(postgres.user)
    postgres.sql(f"CREATE TABLESPACE small LOCATION '{small_disk.folder}'")
    postgres.sql("CREATE DATABASE full_disk TABLESPACE small")
    database = await opened(postgres.url("full_disk"))
    try:
        await database.write("add", partial(add, size=1_000_000))
        small_disk.fill()
        with pytest.raises(StoreUnavailableError, match="No space left on device"):
            await database.write("add", partial(add, size=1_000_000))
        assert "No space left on device" in error_of(await database.check())
        await database.write("renew", lambda c: c.execute(text("UPDATE bot SET stopped = NULL")))
        assert "No space left on device" in error_of(await database.check())
        small_disk.free()
        assert (await database.check()).level is Level.HEALTHY
        await database.write("add", partial(add, size=1_000_000))
        tables = "SELECT count(*) FROM pg_class WHERE relname = 'write_trial'"
        assert (await database.execute("look", tables))[0]["count"] == 0
    finally:
        await database.close()
        postgres.sql("DROP DATABASE full_disk WITH (FORCE)")
        postgres.sql("DROP TABLESPACE small")
