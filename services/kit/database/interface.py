"""Interface of a database: units of work that are timed, one error, health, and notifications."""

import asyncio
import sqlite3
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import asyncpg
from prometheus_client import Gauge, Histogram
from sqlalchemy import Connection
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from services.kit.database.failures import Failures, original, reason_of
from services.kit.errors import Problem
from services.kit.health import Level, Measurement
from services.kit.telemetry.telemetry import Telemetry

T = TypeVar("T")
#: A synchronous function of a connection; it runs in one transaction and may not await.
UnitOfWork = Callable[[Connection], T]
#: Class of SQLSTATE: data exception.
_BAD_VALUE = "22"
#: The operation label of all units of work that have no series of their own.
OTHER = "other"
#: Seconds that a measurement of the health waits for a trial write; it goes on after that.
TRIAL_SECONDS = 1.0
_DRIVER_ERRORS = (DBAPIError, sqlite3.Error, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


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


def _translate(error: BaseException) -> BaseException:
    if isinstance(error, IntegrityError):
        return error
    if str(getattr(original(error), "sqlstate", "")).startswith(_BAD_VALUE):
        # For example a NUL, which PostgreSQL cannot store in a text: a repetition would fail again.
        return Problem(422, "Invalid input", "The database cannot hold one of these values.")
    if isinstance(error, (*_DRIVER_ERRORS, PoolTimeoutError)):
        return StoreUnavailableError(error)
    return error


class Database(ABC):
    """A SQLite or PostgreSQL database. Opened by :func:`services.kit.database.connect.open_database`.

    Every unit of work raises :class:`StoreUnavailableError` where the database fails.

    Attributes:
        failures: of writes, which stand until writes succeed again.
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
        Gauge(
            "database_connections_active",
            "Database connections in use: each runs a transaction or a statement now",
            registry=telemetry.registry,
        ).set_function(self._connections_in_use)
        self.failures = Failures()
        self._trial: asyncio.Task[None] | None = None
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
        result = await self._run(operation, self._write(work), writes=True)
        if notify is not None:
            self.notify(notify)
        return result

    async def read(self, operation: str, work: UnitOfWork[T]) -> T:
        """Runs work that only reads. SQLite gives it one snapshot, PostgreSQL one for each statement."""
        return await self._run(operation, self._read(work), writes=False)

    async def _run(self, operation: str, running: Awaitable[T], *, writes: bool) -> T:
        """Times a unit of work, notes its failure, and translates the driver's error."""
        start = time.perf_counter()
        try:
            result = await running
        except Exception as error:
            translated = _translate(error)
            if isinstance(translated, StoreUnavailableError):
                self._note_failure(operation, error, writes=writes)
            if translated is error:
                raise
            raise translated from error
        finally:
            timer = self._timers.get(operation) or self._timers[OTHER]
            timer.observe(time.perf_counter() - start)
        if writes:
            self.failures.write_succeeded(operation)
        return result

    def _note_failure(self, operation: str, error: Exception, *, writes: bool) -> None:
        cause = error.__cause__ or error if isinstance(error, StoreUnavailableError) else error
        if writes:
            self.failures.write_failed(operation, cause)
        else:
            self.failures.read_failed(cause)

    async def check(self) -> Measurement:
        """Health probe: reads from the database, and tries a write while the failure of one stands.

        It waits for no pool and no queue: a busy database is not taken for a broken one.
        """
        start = time.perf_counter()
        try:
            found = await self.look()
        except _DRIVER_ERRORS as error:
            return Measurement(Level.UNHEALTHY, {"error": reason_of(error)})
        seconds = time.perf_counter() - start
        self._timers.get("ping", self._timers[OTHER]).observe(seconds)
        if self.failures.can_heal:
            await self._try_write()
        measured = {"response_time_ms": round(seconds * 1000, 2), **found}
        if standing := self.failures.standing:
            return Measurement(Level.UNHEALTHY, {"error": f"a write failed: {standing}", **measured})
        return Measurement(Level.HEALTHY, measured)

    async def _try_write(self) -> None:
        """Writes some new pages; where that succeeds, no failure stands any more."""
        if self._trial is None or self._trial.done():
            self._trial = asyncio.create_task(self._write_trial())
        await asyncio.wait({self._trial}, timeout=TRIAL_SECONDS)
        if not self._trial.done():
            return
        error = self._trial.exception()
        if error is None:
            self.failures.trial_succeeded()
        else:
            self.failures.write_failed("trial", error)

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
    async def look(self) -> dict[str, str | bool]:
        """Reads from the database, on a connection of its own, how durable a commit is.

        Returns:
            ``dialect`` and ``synchronous``; of PostgreSQL also ``address`` and ``tls``.

        Raises:
            OSError: nothing can be stored: its files were deleted or replaced, or it is read-only.
        """

    @abstractmethod
    def _connections_in_use(self) -> float: ...
    @abstractmethod
    async def _write_trial(self) -> None:
        """Commits some new pages of a table of its own, and drops it."""

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
