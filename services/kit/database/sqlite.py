"""SQLite with group commit: one writer thread runs all waiting units of work in one transaction.

Work that arrives during an fsync forms the next group, so no timer is needed. WAL and synchronous=FULL: what
is committed survives a power loss.
"""

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError

from services.kit.database import migrate
from services.kit.database.interface import Database, StoreUnavailableError, UnitOfWork
from services.kit.database.sqlite_files import OpenFiles
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry

T = TypeVar("T")

#: Units of work in one transaction.
LARGEST_GROUP = 500
#: A transaction that runs for longer will not end: SQLite waits 10 s for other processes, and work is short.
STUCK_SECONDS = 30.0
_LEVELS = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
_TRIAL = (
    text("DROP TABLE IF EXISTS write_trial"),
    text("CREATE TABLE write_trial AS SELECT zeroblob(65536) AS filler"),
)
_END_TRIAL = text("DROP TABLE write_trial")


@dataclass(slots=True)
class _Job:
    work: UnitOfWork[Any]
    done: "asyncio.Future[Any]"


def _upgrade(package: str, connection: Connection) -> None:
    migrate.upgrade(connection, package)


class SqliteDatabase(Database):
    dialect = "sqlite"
    single_process = True

    def __init__(self, path: Path, telemetry: Telemetry, operations: Iterable[str]) -> None:
        super().__init__(telemetry, operations)
        self.address = str(path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._loop = asyncio.get_running_loop()
        self._uri = f"{path.absolute().as_uri()}?mode="
        self._files = OpenFiles(path)
        self._writer = _sqlite_engine(path, f"{self._uri}rwc", "BEGIN IMMEDIATE")
        # It opens what the writer has created, and never creates an empty file in the place of a lost one.
        self._reader = _sqlite_engine(path, f"{self._uri}rw", "BEGIN")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="sqlite-read")
        self._looker = ThreadPoolExecutor(1, thread_name_prefix="sqlite-look")
        self._connection: Connection | None = None
        self._synchronous = "unknown"
        self._version_tables: tuple[str, ...] = ()
        #: When the writer's present transaction began, monotonic seconds; None: there is none.
        self._began: float | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run_writer, name="sqlite-write", daemon=True)
        self._thread.start()

    async def look(self) -> dict[str, str | bool]:
        await self._loop.run_in_executor(self._looker, self._look_now)
        return {"dialect": "sqlite", "synchronous": self._synchronous}

    def _look_now(self) -> None:
        began = self._began
        if began is not None and time.monotonic() - began > STUCK_SECONDS:
            raise OSError(f"a transaction has not ended for {time.monotonic() - began:.0f} s")
        self._files.check()
        # A new connection has nothing in its cache: it reads the pages of the schema and of these tables.
        with closing(sqlite3.connect(f"{self._uri}ro", uri=True)) as fresh:
            for table in ("sqlite_schema", *self._version_tables):
                fresh.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - names of the code

    async def _write_trial(self) -> None:
        await self._write(lambda connection: [connection.execute(step) for step in _TRIAL])
        await self._write(lambda connection: connection.execute(_END_TRIAL))

    def _connections_in_use(self) -> float:
        pool: Any = self._reader.pool
        return float(pool.checkedout() + (self._began is not None))

    async def migrate(self, packages: Sequence[str]) -> None:
        for package in packages:
            await self._write(partial(_upgrade, package))
        self._version_tables = tuple(map(migrate.version_table, packages))

    async def _write(self, work: UnitOfWork[T]) -> T:
        self._refuse_when_closed()
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, done))
        return await done

    async def _read(self, work: UnitOfWork[T]) -> T:
        self._refuse_when_closed()
        return await self._loop.run_in_executor(self._readers, self._read_now, work)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreUnavailableError(OSError("the database is closed"))

    def _read_now(self, work: UnitOfWork[T]) -> T:
        self._files.check()
        with self._reader.connect() as connection:
            return work(connection)

    def _run_writer(self) -> None:
        while True:
            group = self._next_group()
            if group:
                self._began = time.monotonic()
                outcomes = self._commit(group)
                self._began = None
                with suppress(RuntimeError):  # the event loop is closed: no caller waits
                    self._loop.call_soon_threadsafe(_resolve, group, outcomes)
            else:
                return

    def _next_group(self) -> list[_Job]:
        """Waits for a job; returns it and all others that wait, or nothing when the writer must stop."""
        first = self._jobs.get()
        group = [] if first is None else [first]
        while group and len(group) < LARGEST_GROUP:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            group.append(job)
        return group

    def _commit(self, group: list[_Job]) -> list[tuple[Any, BaseException | None]]:
        try:
            connection = self._open()
            self._files.check()
            outcomes = _transact(connection, group)
            # A commit to a file that was deleted meanwhile is lost when the file is closed.
            self._files.check()
        except Exception as error:  # noqa: BLE001 - raised in the caller
            return [(None, error)] * len(group)
        return outcomes

    def _open(self) -> Connection:
        """Returns the writer's connection. It stays open: a checkout costs as much as a small transaction."""
        if self._connection is None or self._connection.closed:
            self._connection = self._writer.connect()
            driver: Any = self._connection.connection.dbapi_connection
            (level,) = driver.execute("PRAGMA synchronous").fetchone()
            self._synchronous = _LEVELS.get(level, str(level))
            driver.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # opens the log of an empty file
            self._files.remember()
        return self._connection

    async def close(self) -> None:
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        self._looker.shutdown()
        if self._connection is not None:
            self._connection.close()
        self._writer.dispose()
        self._reader.dispose()


def _transact(connection: Connection, group: Sequence[_Job]) -> list[tuple[Any, BaseException | None]]:
    with connection.begin():
        if len(group) == 1:
            return [(group[0].work(connection), None)]
        return [_within_savepoint(connection, job.work) for job in group]


def _within_savepoint(connection: Connection, work: UnitOfWork[Any]) -> tuple[Any, BaseException | None]:
    """Runs a job in a savepoint, so that its failure rolls back only this job.

    On a full disk or an I/O error SQLite rolls back the whole transaction, and its driver then reports the
    commit of nothing as a success: the whole group must fail.
    """
    try:
        with connection.begin_nested():
            return work(connection), None
    except Exception as error:  # noqa: BLE001 - raised in the caller
        if not _in_transaction(connection):
            raise _first_cause(error) from None
        return None, error


def _in_transaction(connection: Connection) -> bool:
    driver: Any = connection.connection.dbapi_connection
    return driver is not None and bool(driver.in_transaction)


def _first_cause(error: BaseException) -> BaseException:
    """Returns the error before the one that the rollback of the lost savepoint raised."""
    cause = error
    while error.__context__ is not None:
        error = error.__context__
        cause = error if isinstance(error, DBAPIError) else cause
    return cause


def _resolve(group: list[_Job], outcomes: list[tuple[Any, BaseException | None]]) -> None:
    for job, (result, error) in zip(group, outcomes, strict=True):
        if job.done.cancelled():
            continue
        if error is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result(result)


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _sqlite_engine(path: Path, uri: str, begin: str) -> Engine:
    connect = partial(sqlite3.connect, uri, uri=True, check_same_thread=False, timeout=10)
    engine = create_engine(f"sqlite:///{path}", creator=connect)

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # Switches off the driver's own BEGIN: SQLAlchemy's below is the only one.
        connection.isolation_level = None
        # SQLite's own lower() handles ASCII only; a search must match all letters, as on PostgreSQL.
        connection.create_function("lower", 1, _lower, deterministic=True)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        if level != 2:  # noqa: PLR2004 - SQLite's number for FULL
            raise StartError(f"{path}: this SQLite refuses synchronous=FULL; use another build or PostgreSQL")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
