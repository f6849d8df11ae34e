import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.kit.database.connect import Database, StoreUnavailableError, open_database
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import Telemetry


def telemetry() -> Telemetry:
    return Telemetry("tests", ServiceSettings())


async def opened(path: Path, telemetry: Telemetry) -> Database:
    database = await open_database(f"sqlite:///{path}", telemetry, packages=[], operations=["add", "count"])
    await database.write("make", lambda c: c.execute(text("CREATE TABLE t (n INTEGER UNIQUE, filler BLOB)")))
    return database


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await opened(tmp_path / "test.db", telemetry())
    yield database
    await database.close()


def insert(number: int, size: int = 0) -> Callable[[Connection], int]:
    def work(connection: Connection) -> int:
        connection.execute(text("INSERT INTO t VALUES (:n, zeroblob(:size))"), {"n": number, "size": size})
        return number

    return work


def numbers(connection: Connection) -> list[int]:
    return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


class Gate:
    """Holds the writer thread inside a job, so that what is asked for meanwhile becomes one group."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.let_go = threading.Event()

    def work(self, _: Connection) -> None:
        self.entered.set()
        assert self.let_go.wait(30)

    async def group(self, database: Database, *works: Callable[[Connection], Any]) -> list[Any]:
        """The results, or the errors, of works that the writer takes up together."""
        held = asyncio.create_task(database.write("hold", self.work))
        await asyncio.to_thread(self.entered.wait, 30)
        tasks = [asyncio.create_task(database.write("add", work)) for work in works]
        await asyncio.sleep(0)  # each has put its work in the queue
        self.let_go.set()
        await held
        return await asyncio.gather(*tasks, return_exceptions=True)


async def test_what_was_committed_is_durable_by_settings_read_back(database: Database) -> None:
    modes = await database.write(
        "look",
        lambda c: [c.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")],
    )
    assert modes == ["wal", 2]


async def test_a_write_is_in_the_file_when_the_call_returns(database: Database, tmp_path: Path) -> None:
    await database.write("add", insert(1))
    with sqlite3.connect(tmp_path / "test.db") as other:
        assert other.execute("SELECT n FROM t").fetchall() == [(1,)]
    other.close()


async def test_writes_that_wait_share_one_transaction(database: Database) -> None:
    def inside(number: int) -> Callable[[Connection], int]:
        def work(connection: Connection) -> int:
            insert(number)(connection)
            return id(connection)

        return work

    connections = await Gate().group(database, *(inside(number) for number in range(20)))
    assert len(set(connections)) == 1
    assert await database.read("count", numbers) == list(range(20))


async def test_one_that_fails_takes_back_itself_alone(database: Database) -> None:
    def half(connection: Connection) -> None:
        insert(50)(connection)
        raise ValueError("changed my mind")

    results = await Gate().group(database, insert(1), insert(2), insert(1), half, insert(3))
    assert results[:2] == [1, 2]
    assert isinstance(results[2], IntegrityError)
    assert isinstance(results[3], ValueError)
    assert results[4] == 3
    assert await database.read("count", numbers) == [1, 2, 3]


async def test_one_that_fails_alone_is_taken_back_too(database: Database) -> None:
    def half(connection: Connection) -> None:
        insert(50)(connection)
        raise ValueError("changed my mind")

    with pytest.raises(ValueError, match="changed my mind"):
        await database.write("add", half)
    assert await database.read("count", numbers) == []


async def test_nothing_of_a_group_is_called_stored_when_sqlite_took_it_all_back(database: Database) -> None:
    """On a full disk SQLite ends the transaction by itself, and its driver's commit of nothing succeeds."""
    await database.write("limit", _leave_room_for_pages(8))
    results = await Gate().group(database, insert(1), insert(2, size=1_000_000), insert(3))
    kept = await database.read("count", numbers)
    told = [number for number in results if not isinstance(number, BaseException)]
    assert kept == told
    assert isinstance(results[1], StoreUnavailableError)
    assert "full" in results[1].detail


def _leave_room_for_pages(pages: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        used = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count={used + pages}"))

    return work


async def test_there_is_room_again_after_a_full_disk(database: Database) -> None:
    await database.write("limit", _leave_room_for_pages(8))
    with pytest.raises(StoreUnavailableError):
        await database.write("add", insert(1, size=1_000_000))
    await database.write("limit", _leave_room_for_pages(100_000))
    assert await database.write("add", insert(2)) == 2


FULL_DISK = """
import asyncio, resource, signal, sys
from pathlib import Path
from sqlalchemy import text
from services.kit.database.connect import StoreUnavailableError, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry

async def main():
    database = await open_database(f"sqlite:///{sys.argv[1]}", Telemetry("t", ServiceSettings()), packages=[])
    await database.write("make", lambda c: c.execute(text("CREATE TABLE t (n INTEGER, filler BLOB)")))
    stored = 0
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, resource.RLIM_INFINITY))
    try:
        while True:
            await database.write("add", lambda c: c.execute(text("INSERT INTO t VALUES (1, zeroblob(9000))")))
            stored += 1
    except StoreUnavailableError as error:
        print(stored, error.status, error.headers["Retry-After"], error.detail)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    await database.write("add", lambda c: c.execute(text("INSERT INTO t VALUES (2, NULL)")))
    await database.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_is_503_and_costs_nothing_that_was_stored(tmp_path: Path) -> None:
    """A real one, by the operating system's limit on the size of a file."""
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / "full.db")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    stored, status, retry, detail = run.stdout.split(maxsplit=3)
    assert (status, retry) == ("503", "2")
    assert detail.startswith("Nothing was stored: ")
    connection = sqlite3.connect(tmp_path / "full.db")
    assert connection.execute("SELECT n, count(*) FROM t GROUP BY n").fetchall() == [(1, int(stored)), (2, 1)]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


async def test_readers_see_only_what_was_committed(database: Database) -> None:
    gate = Gate()

    def work(connection: Connection) -> None:
        insert(1)(connection)
        gate.work(connection)

    writing = asyncio.create_task(database.write("add", work))
    await asyncio.to_thread(gate.entered.wait, 30)
    assert await database.read("count", numbers) == []
    gate.let_go.set()
    await writing
    assert await database.read("count", numbers) == [1]


async def test_what_was_asked_for_before_the_close_is_still_done(tmp_path: Path) -> None:
    database = await opened(tmp_path / "test.db", telemetry())
    writes = [asyncio.create_task(database.write("add", insert(number))) for number in range(1500)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*writes) == list(range(1500))
    connection = sqlite3.connect(tmp_path / "test.db")
    assert connection.execute("SELECT count(*) FROM t").fetchone() == (1500,)
    connection.close()


async def test_after_the_close_work_is_refused_rather_than_left_waiting(tmp_path: Path) -> None:
    database = await opened(tmp_path / "test.db", telemetry())
    await database.close()
    with pytest.raises(StoreUnavailableError):
        await database.write("add", insert(1))
    with pytest.raises(StoreUnavailableError):
        await database.read("count", numbers)


async def test_one_who_no_longer_waits_disturbs_nobody(database: Database) -> None:
    gate = Gate()
    held = asyncio.create_task(database.write("hold", gate.work))
    await asyncio.to_thread(gate.entered.wait, 30)
    gone, stays = (asyncio.create_task(database.write("add", insert(number))) for number in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    gate.let_go.set()
    await held
    assert await stays == 2


async def test_a_missing_table_is_the_store_s_failure_not_a_silent_one(database: Database) -> None:
    with pytest.raises(StoreUnavailableError, match="no such table"):
        await database.read("count", lambda c: c.execute(text("SELECT * FROM nowhere")))


async def test_a_pool_without_a_free_connection_is_503(database: Database) -> None:
    def work(_: Connection) -> None:
        raise PoolTimeoutError("QueuePool limit of size 10 overflow 0 reached")

    with pytest.raises(StoreUnavailableError):
        await database.write("add", work)


async def test_units_of_work_are_timed_by_their_names(tmp_path: Path) -> None:
    measured = telemetry()
    database = await opened(tmp_path / "test.db", measured)
    value = measured.registry.get_sample_value
    assert value("database_query_duration_seconds_count", {"operation": "count"}) == 0
    await database.write("add", insert(1))
    with pytest.raises(IntegrityError):
        await database.write("add", insert(1))
    assert value("database_query_duration_seconds_count", {"operation": "add"}) == 2
    await database.close()


async def test_the_connections_in_use_are_those_that_work_and_not_what_waits_for_them(tmp_path: Path) -> None:
    measured = telemetry()
    database = await opened(tmp_path / "test.db", measured)
    value = measured.registry.get_sample_value
    assert value("database_connections_active") == 0
    gates = [Gate() for _ in range(2)]
    writes = [asyncio.create_task(database.write("hold", gates[0].work)) for _ in range(20)]
    read = asyncio.create_task(database.read("hold", gates[1].work))
    for gate in gates:
        await asyncio.to_thread(gate.entered.wait, 30)
    assert value("database_connections_active") == 2
    for gate in gates:
        gate.let_go.set()
    await asyncio.gather(read, *writes)
    assert value("database_connections_active") == 0
    await database.close()


async def test_who_waits_for_news_is_woken_by_the_write_that_brings_them(database: Database) -> None:
    waiting = asyncio.create_task(database.wait("outbox", 30))
    other = asyncio.create_task(database.wait("elsewhere", 30))
    await asyncio.sleep(0)
    await database.write("add", insert(1), notify="outbox")
    assert await waiting is True
    assert not other.done()
    other.cancel()
    await asyncio.gather(other, return_exceptions=True)


async def test_a_write_that_fails_brings_no_news(database: Database) -> None:
    await database.write("add", insert(1))
    waiting = asyncio.create_task(database.wait("outbox", 30))
    await asyncio.sleep(0)
    with pytest.raises(IntegrityError):
        await database.write("add", insert(1), notify="outbox")
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_who_waits_in_vain_is_told(database: Database) -> None:
    assert await database.wait("outbox", 0) is False


# What stops the start.


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "sqlite://",
        "postgres://ada:lovelace@db/events",
        "mysql://ada:lovelace@db/events",
        "postgresql:///events",
        "postgresql://ada:lovelace@db:port/events",
    ],
)
async def test_a_url_that_is_none_is_one_line_that_repeats_nothing(url: str) -> None:
    with pytest.raises(StartError) as caught:
        await open_database(url, telemetry(), packages=[])
    line = str(caught.value)
    assert line.startswith("DATABASE_URL: ")
    assert line.endswith("write sqlite:///path or postgresql://user:password@host/name")
    assert "love" not in line


async def test_a_file_that_is_no_database_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "test.db").write_bytes(b"this is a letter, not a database\n" * 100)
    with pytest.raises(StartError) as caught:
        await open_database(f"sqlite:///{tmp_path}/test.db", telemetry(), packages=["services.outbox"])
    assert str(caught.value) == f"DATABASE_URL: cannot use {tmp_path}/test.db: file is not a database"


async def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"^DATA_DIR or DATABASE_URL: "):
        await open_database(f"sqlite:///{tmp_path}/data/test.db", telemetry(), packages=[])


async def test_a_folder_in_the_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "test.db").mkdir()
    with pytest.raises(StartError, match=r"^DATABASE_URL: .*/test.db: unable to open database file$"):
        await open_database(f"sqlite:///{tmp_path}/test.db", telemetry(), packages=["services.outbox"])
