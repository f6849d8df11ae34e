import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import Connection, text

from services.kit.db import CommitUnknownError, Database, StoreUnavailableError, open_database
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry import Telemetry
from tests.ports import free_port
from tests.servers import Postgres


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as made:
        yield made


async def opened(url: str) -> Database:
    return await open_database(url, Telemetry("tests", ServiceSettings()), packages=[], pool_size=3)


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[Database, Database]]:
    databases = await opened(url), await opened(url)
    yield databases
    for database in databases:
        await database.close()


def one(connection: Connection) -> int:
    return int(connection.execute(text("SELECT 1")).scalar_one())


async def listening(database: Database) -> None:
    """Returns once the other side's LISTEN is there: until then news are not heard."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    )
    async with asyncio.timeout(30):
        while await database.read("look", lambda c: c.execute(query).scalar_one()) < 2:
            pass


def cut(postgres: Postgres, url: str, last_query: str) -> None:
    """Ends connections at the server, as a failover does, by what they last asked."""
    chosen = f"datname = '{url.rpartition('/')[2]}' AND query LIKE '{last_query}' AND pid <> pg_backend_pid()"
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE " + chosen)  # noqa: S608 - our own names


async def test_a_write_wakes_who_waits_at_another_replica(two: tuple[Database, Database]) -> None:
    here, there = two
    await listening(here)
    waiting = asyncio.create_task(there.wait("outbox", 30))
    await asyncio.sleep(0)
    await here.write("add", one, wake="outbox")
    assert await waiting is True


async def test_a_lost_connection_is_503_and_the_next_call_works(
    two: tuple[Database, Database], postgres: Postgres, url: str
) -> None:
    here, _ = two
    await here.read("look", one)
    cut(postgres, url, "%")
    with pytest.raises(StoreUnavailableError) as caught:
        await here.write("add", one)
    assert caught.value.status == 503
    assert await here.write("add", one) == 1


async def test_news_are_heard_again_after_the_connection_was_lost(
    two: tuple[Database, Database], postgres: Postgres, url: str
) -> None:
    here, there = two
    await listening(here)
    cut(postgres, url, "LISTEN%")
    await listening(here)
    waiting = asyncio.create_task(there.wait("outbox", 30))
    await asyncio.sleep(0)
    await here.write("add", one, wake="outbox")
    assert await waiting is True


async def test_a_failed_work_is_rolled_back(two: tuple[Database, Database]) -> None:
    here, _ = two
    await here.write("make", lambda c: c.execute(text("CREATE TABLE t (n INTEGER)")))

    def half(connection: Connection) -> None:
        connection.execute(text("INSERT INTO t VALUES (1)"))
        raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await here.write("add", half)
    assert await here.read("count", lambda c: c.execute(text("SELECT count(*) FROM t")).scalar()) == 0


@pytest.mark.parametrize(("name", "reason"), [("no_such_database", "does not exist")])
async def test_a_database_that_is_not_there_is_one_line_at_once(
    name: str, reason: str, postgres: Postgres
) -> None:
    with pytest.raises(StartError) as caught:
        await open_database(
            postgres.url(name), Telemetry("tests", ServiceSettings()), packages=["services.outbox"]
        )
    line = str(caught.value)
    assert line.startswith(f"DATABASE_URL: cannot use 127.0.0.1:{postgres.port}/{name}: ")
    assert reason in line
    assert "\n" not in line


async def test_a_server_that_is_not_there_is_one_line_without_the_password() -> None:
    port = free_port()
    with pytest.raises(StartError) as caught:
        await open_database(
            f"postgresql://ada:lovelace@127.0.0.1:{port}/events",
            Telemetry("tests", ServiceSettings()),
            packages=["services.outbox"],
            patience=0,
        )
    line = str(caught.value)
    assert line.startswith(f"DATABASE_URL: cannot use 127.0.0.1:{port}/events: ")
    assert "lovelace" not in line


async def test_a_connection_lost_while_it_commits_leaves_open_whether_it_was_stored(
    two: tuple[Database, Database],
) -> None:
    """The server may have written the commit before its answer was lost: nobody may say it has not."""
    here, there = two
    dying = (
        "CREATE TABLE t (n INTEGER)",
        (
            "CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'"
        ),
        (
            "CREATE CONSTRAINT TRIGGER dies AFTER INSERT ON t DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION die()"
        ),
    )
    await there.write("make", lambda c: [c.execute(text(statement)) for statement in dying] and None)
    with pytest.raises(CommitUnknownError) as caught:
        await here.write("add", lambda c: c.execute(text("INSERT INTO t VALUES (1)")).rowcount)
    assert (caught.value.status, caught.value.extensions) == (503, {"stored": "unknown"})
    assert "Nothing was stored" not in caught.value.detail
    assert await here.write("add", one) == 1
