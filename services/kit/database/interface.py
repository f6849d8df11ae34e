"""What SQLite and PostgreSQL have in common here: units of work, timed; one error; news for who waits."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
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
Work = Callable[[Connection], T]
#: Class of SQLSTATE: data exception.
_BAD_VALUE = "22"
#: The operation label of all units of work that have no series of their own.
OTHER = "other"


class StoreUnavailableError(Problem):
    """The database did not take the work: nothing was stored, and it may be tried again."""

    def __init__(
        self,
        cause: BaseException,
        *,
        title: str = "Store unavailable",
        said: str = "Nothing was stored",
        **more: Any,
    ) -> None:
        super().__init__(503, title, f"{said}: {reason_of(cause)}", headers={"Retry-After": "2"}, **more)


class CommitUnknownError(StoreUnavailableError):
    """The connection was lost while it committed: the work is stored as a whole, or not at all."""

    def __init__(self, cause: BaseException) -> None:
        said = (
            "Nobody knows whether this was stored; repeated with the same Idempotency-Key it is stored once"
        )
        super().__init__(cause, title="Store did not answer", said=said, stored="unknown")


def reason_of(cause: BaseException) -> str:
    origin = cause.orig if isinstance(cause, DBAPIError) and cause.orig is not None else cause
    return str(origin).splitlines()[0] if str(origin) else type(origin).__name__


def _translated(error: BaseException) -> BaseException:
    if isinstance(error, IntegrityError):
        return error
    origin = error.orig if isinstance(error, DBAPIError) else error
    if str(getattr(origin, "sqlstate", "")).startswith(_BAD_VALUE):
        # PostgreSQL keeps no NUL in a text: to try again would not help.
        return Problem(422, "Invalid input", "The database cannot hold one of these values.")
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
            "Duration of a unit of database work, from the call to the commit",
            ["operation"],
            registry=telemetry.registry,
            buckets=(0.001, 0.01, 0.1, 1, 5),
        )
        self._timers = {name: self._durations.labels(name) for name in (*operations, OTHER)}
        self.active = Gauge(
            "database_connections_active", "Units of database work in progress", registry=telemetry.registry
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
        """Runs the work, which must not write: on one snapshot, on PostgreSQL each statement on its own."""
        return await self._timed(operation, self._read(work))

    async def _timed(self, operation: str, running: Awaitable[T]) -> T:
        start = time.perf_counter()
        self.active.inc()
        try:
            return await running
        except Exception as error:
            told = _translated(error)
            if told is error:
                raise
            raise told from error
        finally:
            self.active.dec()
            timer = self._timers.get(operation) or self._timers[OTHER]
            timer.observe(time.perf_counter() - start)

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
    async def promise(self) -> dict[str, str | bool]:
        """What the database itself says of how it keeps a commit: dialect, synchronous, address, tls."""

    @abstractmethod
    async def migrate(self, packages: Sequence[str]) -> None: ...
    @abstractmethod
    async def _write(self, work: Work[T]) -> T: ...
    @abstractmethod
    async def _read(self, work: Work[T]) -> T: ...
    @abstractmethod
    async def close(self) -> None: ...


def upsert(connection: Connection, table: Any) -> Any:
    """The dialect's INSERT that knows ON CONFLICT; both spell it alike."""
    return (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(table)
