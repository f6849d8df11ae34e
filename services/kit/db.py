"""One interface over SQLite and PostgreSQL; the SQL above it is the same SQLAlchemy Core.

A unit of work is a synchronous function of a connection. On SQLite the functions that wait are
run by one writer thread in one transaction (group commit: the fsync is the timer); on PostgreSQL
each runs in its own transaction over asyncpg. Either way the call returns after the commit.

SQLite: WAL, synchronous=FULL, so what was committed survives a power loss.
"""

import asyncio
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import structlog
from alembic.util import CommandError
from prometheus_client import Gauge, Histogram
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit import migrate
from services.kit.errors import Problem
from services.kit.settings import StartError
from services.kit.telemetry import Telemetry

log = structlog.get_logger()
T = TypeVar("T")
Work = Callable[[Connection], T]

LARGEST_GROUP = 500
NOTIFY_DEBOUNCE_SECONDS = 0.02
NOTIFY_CHANNEL = "cctelegram"
CONNECT_PATIENCE_SECONDS = 15.0
_URL_SHAPES = "write sqlite:///path or postgresql://user:password@host/name"


class StoreUnavailableError(Problem):
    """The database did not take the work: nothing was stored, and it may be tried again."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(
            503, "Store unavailable", f"Nothing was stored: {_reason(cause)}", headers={"Retry-After": "2"}
        )


def _reason(cause: BaseException) -> str:
    origin = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    return str(origin).splitlines()[0] if str(origin) else type(origin).__name__


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, IntegrityError):
        return error
    if isinstance(
        error, DBAPIError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError | PoolTimeoutError
    ):
        return StoreUnavailableError(error)
    return error


class Database(ABC):
    """See the module. ``write`` and ``read`` raise :class:`StoreUnavailableError`."""

    dialect: str
    #: Whether no other process works on the same database.
    single_process: bool
    #: Where it is, without a password.
    address: str

    def __init__(self, telemetry: Telemetry, operations: Iterable[str]) -> None:
        self._durations = Histogram(
            "database_query_duration_seconds",
            "Units of work, from the call to after the commit",
            ["operation"],
            registry=telemetry.registry,
            buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
        )
        for operation in operations:
            self._durations.labels(operation)
        self.active = Gauge(
            "database_connections_active", "Units of work under way", registry=telemetry.registry
        )
        self._waiters: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def write(self, operation: str, work: Work[T], *, wake: str | None = None) -> T:
        """Runs the work in a transaction and returns its result once that is durable.

        Args:
            operation: bounded name of the work, a metric label.
            work: a function of a connection; it may be run again after a lost connection only
                by the caller.
            wake: a channel whose waiters, here and in the other replicas, have news.
        """
        result = await self._timed(operation, self._write(work))
        if wake is not None:
            self._wake(wake)
        return result

    async def read(self, operation: str, work: Work[T]) -> T:
        """Runs the work on a snapshot; it must not write."""
        return await self._timed(operation, self._read(work))

    async def _timed(self, operation: str, running: Awaitable[T]) -> T:
        start = time.perf_counter()
        self.active.inc()
        try:
            return await running
        except Exception as error:
            translated = _translated(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            self.active.dec()
            self._durations.labels(operation).observe(time.perf_counter() - start)

    async def ping(self) -> float:
        """Seconds that a trivial query takes."""
        start = time.perf_counter()
        await self.read("ping", lambda connection: connection.execute(text("SELECT 1")).scalar())
        return time.perf_counter() - start

    async def wait(self, channel: str, seconds: float) -> bool:
        """Waits for news on the channel; false when the time ran out first."""
        news = asyncio.Event()
        self._waiters[channel].add(news)
        try:
            async with asyncio.timeout(seconds):
                await news.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters[channel].discard(news)
        return True

    def wake(self, *channels: str) -> None:
        """Tells those who wait, here and in the other replicas, after a commit."""
        for channel in channels:
            self._wake(channel)

    @contextmanager
    def news(self, channel: str) -> Iterator[asyncio.Event]:
        """An event that news sets. Clear it, look, then wait for it: nothing is slept through."""
        news = asyncio.Event()
        self._waiters[channel].add(news)
        try:
            yield news
        finally:
            self._waiters[channel].discard(news)

    def wake_here(self, channel: str) -> None:
        """Tells those who wait in this process, and no other replica."""
        for news in tuple(self._waiters[channel]):
            news.set()

    def _wake(self, channel: str) -> None:
        self.wake_here(channel)

    @abstractmethod
    async def migrate(self, packages: Sequence[str]) -> None: ...
    @abstractmethod
    async def _write(self, work: Work[T]) -> T: ...
    @abstractmethod
    async def _read(self, work: Work[T]) -> T: ...
    @abstractmethod
    async def close(self) -> None: ...


@dataclass(slots=True)
class _Job:
    work: Work[Any]
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
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sqlite-write", daemon=True)
        self._thread.start()

    async def migrate(self, packages: Sequence[str]) -> None:
        for package in packages:
            await self._write(partial(_upgrade, package))

    async def _write(self, work: Work[T]) -> T:
        self._refuse_when_closed()
        done: asyncio.Future[T] = self._loop.create_future()
        self._jobs.put(_Job(work, done))
        return await done

    async def _read(self, work: Work[T]) -> T:
        self._refuse_when_closed()
        return await self._loop.run_in_executor(self._readers, self._read_now, work)

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StoreUnavailableError(OSError("it is closed"))

    def _read_now(self, work: Work[T]) -> T:
        with self._reader.connect() as connection:
            return work(connection)

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                outcomes = self._commit(group)
                with suppress(RuntimeError):  # the loop is gone: nobody waits for the answers
                    self._loop.call_soon_threadsafe(_resolve, group, outcomes)
            else:
                return

    def _next_group(self) -> list[_Job]:
        """All jobs that wait, after the first; empty when the writer shall stop."""
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
            with self._writer.begin() as connection:
                if len(group) == 1:
                    return [(group[0].work(connection), None)]
                return [_within_savepoint(connection, job.work) for job in group]
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the work
            return [(None, error)] * len(group)

    async def close(self) -> None:
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        self._writer.dispose()
        self._reader.dispose()


def _within_savepoint(connection: Connection, work: Work[Any]) -> tuple[Any, BaseException | None]:
    """One job's failure takes back that job alone, and the group goes on.

    Unless the whole transaction is gone: SQLite rolls it back by itself on a full disk or an I/O error,
    and its driver then takes a commit of nothing for a success.
    """
    try:
        with connection.begin_nested():
            return work(connection), None
    except Exception as error:  # noqa: BLE001 - handed to whoever asked for the work
        if not _in_transaction(connection):
            raise _first_cause(error) from None
        return None, error


def _in_transaction(connection: Connection) -> bool:
    driver: Any = connection.connection.dbapi_connection
    return driver is not None and bool(driver.in_transaction)


def _first_cause(error: BaseException) -> BaseException:
    """What went wrong before the failing savepoint was given up, which failed then too."""
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


def _sqlite_engine(path: Path, begin: str) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"check_same_thread": False, "timeout": 10})

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: Any) -> None:
        # The driver's own idea of transactions off: SQLAlchemy's BEGIN below is the only one.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        (level,) = connection.execute("PRAGMA synchronous").fetchone()
        if level != 2:  # noqa: PLR2004 - SQLite's number for FULL
            raise StartError(f"{path}: this SQLite does not keep synchronous=FULL")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


class PostgresDatabase(Database):
    dialect = "postgresql"
    single_process = False

    def __init__(self, url: URL, telemetry: Telemetry, operations: Iterable[str], pool_size: int) -> None:
        super().__init__(telemetry, operations)
        self.address = f"{url.host}:{url.port or 5432}/{url.database}"
        self._url = url.set(drivername="postgresql+asyncpg")
        self._engine = create_async_engine(
            self._url, pool_size=pool_size, max_overflow=0, pool_timeout=10, pool_pre_ping=False
        )
        self._to_notify: set[str] = set()
        self._notify_needed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._notify()), asyncio.create_task(self._listen())]

    async def migrate(self, packages: Sequence[str]) -> None:
        # Alembic is synchronous and process-wide: in a thread, with a loop of its own.
        await asyncio.to_thread(lambda: asyncio.run(self._migrate(packages)))

    async def _migrate(self, packages: Sequence[str]) -> None:
        engine = create_async_engine(self._url, poolclass=NullPool)
        for package in packages:
            async with engine.begin() as connection:
                await connection.run_sync(migrate.upgrade, package)
        await engine.dispose()

    async def _write(self, work: Work[T]) -> T:
        async with self._engine.begin() as connection:
            return await connection.run_sync(work)

    async def _read(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection:
            return await connection.run_sync(work)

    def _wake(self, channel: str) -> None:
        super()._wake(channel)
        self._to_notify.add(channel)
        self._notify_needed.set()

    async def _notify(self) -> None:
        """Tells the other replicas, at most once in the debounce time whatever the load."""
        while True:
            await self._notify_needed.wait()
            await asyncio.sleep(NOTIFY_DEBOUNCE_SECONDS)
            self._notify_needed.clear()
            channels, self._to_notify = self._to_notify, set()
            with suppress(DBAPIError, OSError, PoolTimeoutError):  # they poll as well
                async with self._engine.begin() as connection:
                    for channel in channels:
                        await connection.execute(
                            text("SELECT pg_notify(:ours, :payload)"),
                            {"ours": NOTIFY_CHANNEL, "payload": channel},
                        )

    async def _listen(self) -> None:
        plain = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
        while True:
            lost = asyncio.Event()
            try:
                connection = await asyncpg.connect(plain)
                try:
                    connection.add_termination_listener(lambda *_, lost=lost: lost.set())
                    await connection.add_listener(NOTIFY_CHANNEL, self._heard)
                    await lost.wait()
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("listen_failed", error=_reason(error))
            await asyncio.sleep(1)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self.wake_here(str(payload))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.dispose()


def upsert(connection: Connection, table: Any) -> Any:
    """The dialect's INSERT that knows ON CONFLICT; both spell it alike."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)


async def open_database(
    url: str,
    telemetry: Telemetry,
    *,
    packages: Sequence[str],
    operations: Iterable[str] = (),
    pool_size: int = 10,
    patience: float = CONNECT_PATIENCE_SECONDS,
) -> Database:
    """Opens the database and brings it to the newest schema.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host:port/name``.
        telemetry: of the service, for the query metrics.
        packages: whose tables it holds, e.g. ``services.outbox``; in order of dependency.
        operations: names of the units of work, so that their series exist from the start.
        pool_size: connections to PostgreSQL.
        patience: seconds that a PostgreSQL which starts beside us is waited for.

    Raises:
        StartError: the URL is wrong, or the database cannot be reached or written.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        # The library's own words may repeat a part of the password.
        raise StartError(f"DATABASE_URL: not a database URL: {_URL_SHAPES}") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return await _opened(
            lambda: SqliteDatabase(Path(str(parsed.database)), telemetry, operations), packages, 0.0
        )
    if parsed.get_backend_name() == "postgresql" and parsed.host:
        return await _opened(
            lambda: PostgresDatabase(parsed, telemetry, operations, pool_size), packages, patience
        )
    raise StartError(f"DATABASE_URL: {_URL_SHAPES}")


async def _opened(make: Callable[[], Database], packages: Sequence[str], patience: float) -> Database:
    try:
        database = make()
    except OSError as error:
        raise StartError(f"DATA_DIR or DATABASE_URL: {error.strerror}: {error.filename}") from error
    give_up = time.monotonic() + patience
    while True:
        try:
            await database.migrate(packages)
        except (DBAPIError, OSError, asyncpg.PostgresError) as error:
            # A database that starts beside us may need a moment; a wrong password needs none.
            if time.monotonic() < give_up and isinstance(error, OSError | asyncpg.CannotConnectNowError):
                log.info("database_awaited", database=database.address, error=_reason(error))
                await asyncio.sleep(0.5)
                continue
            await database.close()
            raise StartError(f"DATABASE_URL: cannot use {database.address}: {_reason(error)}") from error
        except CommandError as error:
            await database.close()
            raise StartError(
                f"DATABASE_URL: {database.address} was written by another version of this program: {error}"
            ) from error
        return database
