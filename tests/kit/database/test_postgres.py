import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from sqlalchemy import Connection, text

from services.kit.database.connect import (
    CommitUnknownError,
    Database,
    StoreUnavailableError,
    open_database,
)
from services.kit.database.postgres import PostgresDatabase
from services.kit.errors import Problem
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry
from tests.ports import free_port
from tests.servers import Postgres, until


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with postgres.database() as made:
        yield made


async def opened(url: str) -> PostgresDatabase:
    database = await open_database(url, Telemetry("tests", ServiceSettings()), packages=[], pool_size=3)
    assert isinstance(database, PostgresDatabase)
    return database


@pytest.fixture
async def two(url: str) -> AsyncIterator[tuple[PostgresDatabase, PostgresDatabase]]:
    databases = await opened(url), await opened(url)
    yield databases
    for database in databases:
        await database.close()


PID = "SELECT pg_backend_pid() AS pid"


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


async def test_a_write_wakes_who_waits_at_another_replica(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, there = two
    await listening(here)
    waiting = asyncio.create_task(there.wait("outbox", 30))
    await asyncio.sleep(0)
    await here.write("add", one, notify="outbox")
    assert await waiting is True


async def test_a_lost_connection_is_503_and_the_next_call_works(
    two: tuple[PostgresDatabase, PostgresDatabase], postgres: Postgres, url: str
) -> None:
    here, _ = two
    await here.read("look", one)
    cut(postgres, url, "%")
    with pytest.raises(StoreUnavailableError) as caught:
        await here.write("add", one)
    assert caught.value.status == 503
    assert await here.write("add", one) == 1


async def test_news_are_heard_again_after_the_connection_was_lost(
    two: tuple[PostgresDatabase, PostgresDatabase], postgres: Postgres, url: str
) -> None:
    here, there = two
    await listening(here)
    cut(postgres, url, "LISTEN%")
    await listening(here)
    waiting = asyncio.create_task(there.wait("outbox", 30))
    await asyncio.sleep(0)
    await here.write("add", one, notify="outbox")
    assert await waiting is True


async def test_a_failed_work_is_rolled_back(two: tuple[PostgresDatabase, PostgresDatabase]) -> None:
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


async def test_an_option_that_postgresql_does_not_know_is_one_line(url: str) -> None:
    with pytest.raises(StartError) as caught:
        await open_database(
            f"{url}?nonsense=1", Telemetry("tests", ServiceSettings()), packages=["services.outbox"]
        )
    assert str(caught.value).startswith("DATABASE_URL: cannot use ")
    assert '"nonsense"' in str(caught.value)


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
    two: tuple[PostgresDatabase, PostgresDatabase],
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


async def test_a_write_is_no_news_a_second_time_to_the_replica_that_wrote(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    """It was woken at once; its own notice comes back from the server, when there is nothing new."""
    here, there = two
    await listening(here)
    with here.subscribe("outbox") as mine, there.subscribe("outbox") as theirs:
        await here.write("add", one, notify="outbox")
        assert mine.is_set()
        mine.clear()
        await theirs.wait()
        # A later notice of the other's has come: so has, before it, the own one.
        await there.write("add", one, notify="later")
        assert await here.wait("later", 30)
        assert not mine.is_set()


async def test_who_gives_way_in_a_deadlock_tries_again(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    """Each has one row and wants the other's; PostgreSQL gives one of them up."""
    here, there = two
    await here.write(
        "make", lambda c: c.execute(text("CREATE TABLE t AS SELECT 1 AS n, 0 AS v UNION SELECT 2, 0"))
    )
    tries: list[tuple[int, int]] = []

    def both(first: int, second: int, connection: Connection) -> None:
        tries.append((first, second))
        for n in (first, second):
            connection.execute(text("UPDATE t SET v = v + 1 WHERE n = :n"), {"n": n})
            if len(tries) <= 2:  # until the other has its first row
                connection.execute(text("SELECT pg_sleep(0.2)"))

    await asyncio.gather(here.write("w", partial(both, 1, 2)), there.write("w", partial(both, 2, 1)))
    rows = await here.read("r", lambda c: c.execute(text("SELECT v FROM t")).scalars().all())
    assert list(rows) == [2, 2]
    assert len(tries) >= 3  # on a slow machine one of them may have to give way twice


async def test_a_read_is_no_transaction(two: tuple[PostgresDatabase, PostgresDatabase]) -> None:
    here, _ = two

    def began(connection: Connection) -> list[object]:
        return [connection.execute(text("SELECT now()")).scalar_one() for _ in range(2)]

    first, second = await here.read("look", began)
    assert first != second
    first, second = await here.write("look", began)
    assert first == second


async def test_a_statement_is_a_transaction_of_its_own(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, there = two
    await here.execute("make", "CREATE TABLE t (n INTEGER)")
    kept = await here.execute("add", "INSERT INTO t SELECT unnest($1::int[]) RETURNING n", [1, 2])
    assert [row["n"] for row in kept] == [1, 2]
    assert await there.read("count", lambda c: c.execute(text("SELECT count(*) FROM t")).scalar()) == 2


async def test_statements_at_once_do_not_wait_for_each_other(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, _ = two
    pids = await asyncio.gather(*(here.execute("look", PID) for _ in range(3)))
    assert len({row["pid"] for rows in pids for row in rows}) == 3


async def test_statements_share_so_many_connections_and_no_more(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, _ = two
    pids = await asyncio.gather(*(here.execute("look", PID) for _ in range(30)))
    assert len({row["pid"] for rows in pids for row in rows}) == 3


async def test_a_statement_that_is_cancelled_ends_at_the_server_too(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, there = two
    sleeping = asyncio.create_task(here.execute("add", "SELECT pg_sleep(600)"))

    async def sleeps() -> bool:
        query = (
            "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"
        )
        return bool((await there.execute("look", query))[0]["count"])

    await until(sleeps)
    sleeping.cancel()
    await asyncio.gather(sleeping, return_exceptions=True)
    assert not await sleeps()
    assert await here.execute("look", PID)


async def test_a_statement_that_is_refused_stored_nothing_and_its_connection_goes_on(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, _ = two
    (before,) = await here.execute("look", PID)
    with pytest.raises(StoreUnavailableError) as caught:
        await here.execute("add", "INSERT INTO nowhere VALUES (1)")
    assert not isinstance(caught.value, CommitUnknownError)
    assert "Nothing was stored" in caught.value.detail
    (after,) = await here.execute("look", PID)
    assert after["pid"] == before["pid"]


@pytest.mark.parametrize("value", ["a\0b", 7])
async def test_a_value_that_cannot_be_held_is_422(
    value: object, two: tuple[PostgresDatabase, PostgresDatabase]
) -> None:
    here, _ = two
    with pytest.raises(Problem) as caught:
        await here.execute("add", "SELECT $1::text", value)
    assert caught.value.status == 422


async def test_a_statement_takes_another_connection_where_its_own_was_cut(
    two: tuple[PostgresDatabase, PostgresDatabase], postgres: Postgres, url: str
) -> None:
    here, _ = two
    (before,) = await here.execute("look", PID)
    cut(postgres, url, "SELECT pg_backend_pid%")

    async def noticed() -> bool:
        return not here._pool.get_idle_size()

    await until(noticed)
    (after,) = await here.execute("look", PID)
    assert after["pid"] != before["pid"]


async def test_a_connection_lost_within_a_statement_leaves_open_whether_it_was_stored(
    two: tuple[PostgresDatabase, PostgresDatabase],
) -> None:
    here, _ = two
    with pytest.raises(CommitUnknownError) as caught:
        await here.execute("add", "SELECT pg_terminate_backend(pg_backend_pid())")
    assert (caught.value.status, caught.value.extensions) == (503, {"stored": "unknown"})
    assert await here.execute("look", "SELECT 1 AS one")


async def test_what_the_url_asks_for_holds_for_every_connection(url: str) -> None:
    asking = f"{url}?ssl=prefer"
    here, there = await opened(asking), await opened(asking)
    try:
        await listening(here)
        waiting = asyncio.create_task(there.wait("outbox", 30))
        await asyncio.sleep(0)
        await here.write("add", one, notify="outbox")
        assert await waiting is True
        assert await here.execute("look", "SELECT 1 AS one")
    finally:
        await here.close()
        await there.close()
