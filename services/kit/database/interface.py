"""Interface of a database: units of work that are timed, one error, and notifications between processes."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import asyncpg
from prometheus_client import Gauge, Histogram
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry

T = TypeVar("T")
#: A synchronous function of a connection; it runs in one transaction and may not await.
UnitOfWork = Callable[[Connection], T]
#: Class of SQLSTATE: data exception.
_BAD_VALUE = "22"
#: The operation label of all units of work that have no series of their own.
OTHER = "other"


class StoreUnavailableError(Problem):
    """The database refused or lost the work: nothing was stored; the caller may repeat it. Answers 503."""

    def __init__(
        self,
        cause: BaseException,
        *,
        title: str = "Store unavailable",
        effect: str = "Nothing was stored",
        **more: Any,
    ) -> None:
        super().__init__(503, title, f"{effect}: {reason_of(cause)}", headers={"Retry-After": "2"}, **more)


class CommitUnknownError(StoreUnavailableError):
    """The connection was lost during the commit: the work is stored as a whole or not at all. Answers 503."""

    def __init__(self, cause: BaseException) -> None:
        effect = (
            "It is unknown whether this was stored; repeated with the same Idempotency-Key, it is stored once"
        )
        super().__init__(cause, title="Store did not answer", effect=effect, stored="unknown")


def reason_of(cause: BaseException) -> str:
    """Returns the first line of the driver's message, or the name of its error."""
    origin = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    return str(origin).splitlines()[0] if str(origin) else type(origin).__name__


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, IntegrityError):
        return error
    origin = error.orig if isinstance(error, DBAPIError) else error
    if str(getattr(origin, "sqlstate", "")).startswith(_BAD_VALUE):
        # For example a NUL, which PostgreSQL cannot store in a text: a repetition would fail again.
        return Problem(422, "Invalid input", "The database cannot hold one of these values.")
    if isinstance(
        error, DBAPIError | OSError | asyncpg.PostgresError | asyncpg.InterfaceError | PoolTimeoutError
    ):
        return StoreUnavailableError(error)
    return error


class Database(ABC):
    """A SQLite or PostgreSQL database. Opened by :func:`services.kit.database.connect.open_database`.

    Every unit of work raises :class:`StoreUnavailableError` where the database fails.
    """

    dialect: str
    #: Whether this process is the only one that uses the database.
    single_process: bool
    #: Path, or host, port and name; without a password.
    address: str

    def __init__(self, telemetry: Telemetry, operations: Iterable[str]) -> None:
        self._durations = Histogram(
            "database_query_duration_seconds",
            "Duration of a unit of database work, from the call to the commit",
            ["operation"],
            registry=telemetry.registry,
            buckets=(0.001, 0.01, 0.1, 1, 5),
        )
        self._timers = {name: self._durations.labels(name) for name in (*operations, OTHER)}
        self.active = Gauge(
            "database_connections_active", "Units of database work in progress", registry=telemetry.registry
        )
        self._subscribers: dict[str, set[asyncio.Event]] = defaultdict(set)

    async def write(self, operation: str, work: UnitOfWork[T], *, notify: str | None = None) -> T:
        """Runs the work in a transaction and returns its result after the commit.

        Args:
            operation: bounded name of the work, a metric label.
            work: writes; PostgreSQL runs it again after a deadlock, which rolled it back.
            notify: channel whose subscribers are notified after the commit.

        Raises:
            CommitUnknownError: the connection was lost during the commit.
        """
        result = await self._timed(operation, self._write(work))
        if notify is not None:
            self.notify(notify)
        return result

    async def read(self, operation: str, work: UnitOfWork[T]) -> T:
        """Runs work that only reads. SQLite gives it one snapshot, PostgreSQL one for each statement."""
        return await self._timed(operation, self._read(work))

    async def _timed(self, operation: str, running: Awaitable[T]) -> T:
        start = time.perf_counter()
        self.active.inc()
        try:
            return await running
        except Exception as error:
            translated = _translate(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            self.active.dec()
            timer = self._timers.get(operation) or self._timers[OTHER]
            timer.observe(time.perf_counter() - start)

    async def ping(self) -> float:
        """Returns how many seconds a trivial query takes."""
        start = time.perf_counter()
        await self.read("ping", lambda connection: connection.execute(text("SELECT 1")).scalar())
        return time.perf_counter() - start

    async def wait(self, channel: str, seconds: float) -> bool:
        """Waits for a notification; returns false when the time is over first."""
        with self.subscribe(channel) as notified, suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                return await notified.wait()
        return False

    @contextmanager
    def subscribe(self, channel: str) -> Iterator[asyncio.Event]:
        """Yields an event that each notification sets.

        Clear the event, read the database, then wait for the event: so no change is missed.
        """
        notified = asyncio.Event()
        self._subscribers[channel].add(notified)
        try:
            yield notified
        finally:
            self._subscribers[channel].discard(notified)

    def notify(self, *channels: str) -> None:
        """Notifies the subscribers of this process and of all other replicas. Call it after the commit."""
        for channel in channels:
            self.notify_local(channel)

    def notify_local(self, channel: str) -> None:
        """Notifies the subscribers of this process only."""
        for notified in tuple(self._subscribers[channel]):
            notified.set()

    @abstractmethod
    async def durability(self) -> dict[str, str | bool]:
        """Reads from the database how durable a commit is.

        Returns:
            ``dialect`` and ``synchronous``; of PostgreSQL also ``address`` and ``tls``.
        """

    @abstractmethod
    async def migrate(self, packages: Sequence[str]) -> None:
        """Brings the tables of these packages to the newest schema."""

    @abstractmethod
    async def _write(self, work: UnitOfWork[T]) -> T: ...
    @abstractmethod
    async def _read(self, work: UnitOfWork[T]) -> T: ...
    @abstractmethod
    async def close(self) -> None: ...


def upsert(connection: Connection, table: Any) -> Any:
    """Returns the dialect's INSERT with ON CONFLICT, which both dialects spell alike."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
