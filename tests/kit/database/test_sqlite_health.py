"""The health of a SQLite database: full disks, damaged files, files that are gone; and a busy one."""

import asyncio
import shutil
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from services.kit.database import sqlite
from services.kit.database.connect import Database, StoreUnavailableError, open_database
from services.kit.health import Level, Measurement
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry

PACKAGES = ("services.outbox",)


async def opened(path: Path) -> Database:
    telemetry = Telemetry("tests", ServiceSettings(data_dir=path.parent))
    return await open_database(f"sqlite:///{path}", telemetry, packages=PACKAGES)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "test.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    database = await opened(path)
    yield database
    await database.close()


def store(key: str, size: int = 10) -> Callable[[Connection], None]:
    insert = text("INSERT INTO idempotency VALUES ('tests', :key, '', :answer, 0)")

    def work(connection: Connection) -> None:
        connection.execute(insert, {"key": key, "answer": "x" * size})

    return work


def keys(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT key FROM idempotency ORDER BY key")).scalars())


def error_of(measured: Measurement) -> str:
    assert measured.level is Level.UNHEALTHY
    return str(measured.measured["error"])


async def test_a_database_that_works_says_how_durable_a_commit_is(database: Database) -> None:
    measured = await database.check()
    assert measured.level is Level.HEALTHY
    assert measured.measured.keys() == {"response_time_ms", "dialect", "synchronous"}
    assert measured.measured["synchronous"] == "FULL"


def leave_room_for_pages(pages: int) -> Callable[[Connection], None]:
    def work(connection: Connection) -> None:
        used = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count={used + pages}"))

    return work


async def test_a_failed_write_makes_it_unhealthy_until_there_is_room_again(database: Database) -> None:
    await database.write("limit", leave_room_for_pages(2))
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("large", 100_000))
    assert error_of(await database.check()) == "a write failed: database or disk is full"
    assert error_of(await database.check()) == "a write failed: database or disk is full"
    # Nothing but the probe writes meanwhile.
    await database.write("limit", leave_room_for_pages(10_000))
    assert (await database.check()).level is Level.HEALTHY
    assert await database.read("look", keys) == []


async def test_a_small_change_that_still_succeeds_does_not_make_it_healthy(database: Database) -> None:
    await database.write("add", store("a"))
    await database.write("limit", leave_room_for_pages(2))
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("large", 100_000))
    await database.write("renew", lambda c: c.execute(text("UPDATE idempotency SET created_at = 1")))
    assert error_of(await database.check()) == "a write failed: database or disk is full"


async def test_the_trial_leaves_nothing_behind(database: Database) -> None:
    tables = text("SELECT name FROM sqlite_schema ORDER BY name")
    before = await database.read("look", lambda c: c.execute(tables).scalars().all())
    for _ in range(2):
        database.failures.write_failed("add", OSError("made up"))
        assert (await database.check()).level is Level.HEALTHY
    assert await database.read("look", lambda c: c.execute(tables).scalars().all()) == before


async def test_a_deleted_folder_is_seen_at_the_next_commit(database: Database, path: Path) -> None:
    await database.write("add", store("before"))
    shutil.rmtree(path.parent)
    with pytest.raises(StoreUnavailableError, match=r"Nothing was stored: .*test.db was deleted") as caught:
        await database.write("add", store("after"))
    assert caught.value.status == 503
    with pytest.raises(StoreUnavailableError):
        await database.read("look", keys)
    assert "test.db was deleted while it was open" in error_of(await database.check())
    assert not path.parent.exists()


async def test_a_deleted_folder_is_seen_without_any_work(database: Database, path: Path) -> None:
    shutil.rmtree(path.parent)
    assert "test.db was deleted while it was open" in error_of(await database.check())


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
async def test_each_file_of_the_database_is_looked_for(database: Database, path: Path, suffix: str) -> None:
    gone = path.with_name(path.name + suffix)
    gone.unlink()
    assert f"{gone} was deleted" in error_of(await database.check())
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("after"))


async def test_another_file_in_its_place_is_neither_written_nor_read(database: Database, path: Path) -> None:
    other = await opened(path.with_name("other.db"))
    await other.close()
    path.with_name("other.db").rename(path)
    assert "test.db was replaced while it was open" in error_of(await database.check())
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("after"))
    with pytest.raises(StoreUnavailableError):
        await database.read("look", keys)


async def test_the_files_may_come_back(database: Database, path: Path) -> None:
    """Such as after a rename by mistake: what is open is again what is at the path."""
    path.parent.rename(path.parent.with_name("elsewhere"))
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("meanwhile"))
    path.parent.with_name("elsewhere").rename(path.parent)
    assert (await database.check()).level is Level.HEALTHY
    await database.write("add", store("after"))
    assert await database.read("look", keys) == ["after"]


async def test_what_was_deleted_during_the_transaction_is_not_called_stored(
    database: Database, path: Path
) -> None:
    def work(connection: Connection) -> None:
        store("lost")(connection)
        shutil.rmtree(path.parent)

    with pytest.raises(StoreUnavailableError, match="Nothing was stored"):
        await database.write("add", work)


async def test_a_file_that_was_overwritten_is_unhealthy_although_pages_are_cached(path: Path) -> None:
    database = await opened(path)
    await _checkpointed(path)
    assert (await database.check()).level is Level.HEALTHY
    _overwrite(path)
    assert error_of(await database.check()) in (
        "file is not a database",
        "database disk image is malformed",
    )
    await database.close()


def _overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"overwritten" * (path.stat().st_size // 11))


async def _checkpointed(path: Path) -> None:
    """Moves the log into the file, as SQLite does from time to time."""
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    connection.close()


async def test_a_page_that_work_finds_damaged_stands_until_a_restart(path: Path) -> None:
    database = await opened(path)
    for number in range(200):
        await database.write("add", store(f"{number:03}", 500))
    await _checkpointed(path)
    page = await database.read(
        "look",
        lambda c: c.execute(text("SELECT rootpage FROM sqlite_schema WHERE name = 'idempotency'")).scalar(),
    )
    await database.close()
    with path.open("r+b") as file:
        file.seek((int(page or 0) - 1) * 4096)
        file.write(b"\xff" * 4096)
    database = await opened(path)
    assert (await database.check()).level is Level.HEALTHY
    with pytest.raises(StoreUnavailableError):
        await database.write("add", store("after"))
    assert error_of(await database.check()) == "a write failed: database disk image is malformed"
    await database.write("other", lambda c: c.execute(text("UPDATE bot SET stopped = NULL")))
    assert error_of(await database.check()) == "a write failed: database disk image is malformed"
    await database.close()


async def test_a_busy_writer_is_healthy(database: Database) -> None:
    entered, let_go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        assert let_go.wait(30)

    working = [asyncio.create_task(database.write("hold", hold))]
    await asyncio.to_thread(entered.wait, 30)
    working += [asyncio.create_task(database.write("add", store(str(n)))) for n in range(100)]
    working += [asyncio.create_task(database.read("hold", hold)) for _ in range(5)]
    await asyncio.sleep(0)
    assert (await database.check()).level is Level.HEALTHY
    let_go.set()
    await asyncio.gather(*working)


async def test_a_writer_that_does_not_end_is_not(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "STUCK_SECONDS", 0.0)
    entered, let_go = threading.Event(), threading.Event()

    def hold(_: Connection) -> None:
        entered.set()
        assert let_go.wait(30)

    working = asyncio.create_task(database.write("hold", hold))
    await asyncio.to_thread(entered.wait, 30)
    assert error_of(await database.check()) == "a transaction has not ended for 0 s"
    let_go.set()
    await working
    assert (await database.check()).level is Level.HEALTHY
