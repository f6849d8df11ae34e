"""SQLite with group commit: one writer thread runs all waiting units of work in one transaction.

Work that arrives during an fsync forms the next group, so no timer is needed. WAL and synchronous=FULL: what
is committed survives a power loss.
"""

import asyncio
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from services.kit.database import migrate
from services.kit.database.interface import Database, StoreUnavailableError, UnitOfWork
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry

T = TypeVar("T")

#: Units of work in one transaction.
LARGEST_GROUP = 500


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
        self._writer = _sqlite_engine(path, "BEGIN IMMEDIATE")
        self._reader = _sqlite_engine(path, "BEGIN")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="sqlite-read")
        self._connection: Connection | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sqlite-write", daemon=True)
        self._thread.start()

    async def durability(self) -> dict[str, str | bool]:
        # On the writer's connection, since each connection has its own setting.
        level = await self.write(
            "ping", lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar()
        )
        names = {0: "OFF", 1: "NORMAL", 2: "FULL", 3: "EXTRA"}
        return {"dialect": "sqlite", "synchronous": names.get(int(level or 0), str(level))}

    async def migrate(self, packages: Sequence[str]) -> None:
        for package in packages:
            await self._write(partial(_upgrade, package))

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
        with self._reader.connect() as connection:
            return work(connection)

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                outcomes = self._commit(group)
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
            with connection.begin():
                if len(group) == 1:
                    return [(group[0].work(connection), None)]
                return [_within_savepoint(connection, job.work) for job in group]
        except Exception as error:  # noqa: BLE001 - raised in the caller
            return [(None, error)] * len(group)

    def _open(self) -> Connection:
        """Returns the writer's connection. It stays open: a checkout costs as much as a small transaction."""
        if self._connection is None or self._connection.closed:
            self._connection = self._writer.connect()
        return self._connection

    async def close(self) -> None:
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        if self._connection is not None:
            self._connection.close()
        self._writer.dispose()
        self._reader.dispose()


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


def _sqlite_engine(path: Path, begin: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 10})

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
