"""PostgreSQL over asyncpg: units of work, single statements, and notifications between replicas.

A unit of work runs through SQLAlchemy and takes three round trips. A single statement is a transaction by
itself and takes one: :meth:`PostgresDatabase.execute` gives it to asyncpg directly.
"""

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import NullPool
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.database import migrate
from services.kit.database.failures import reason_of
from services.kit.database.interface import CommitUnknownError, Database, UnitOfWork
from services.kit.database.postgres_probe import PostgresProbe
from services.kit.telemetry.telemetry import Telemetry

log = structlog.get_logger()
T = TypeVar("T")

#: Seconds that a unit of work or a statement waits for a free connection.
POOL_TIMEOUT_SECONDS = 10.0
#: A channel is notified at most once in this time, whatever the load.
NOTIFY_DEBOUNCE_SECONDS = 0.02
NOTIFY_CHANNEL = "cctelegram"
#: The name of a service's connections in ``pg_stat_activity``.
APPLICATION_NAME = "cctelegram"
RECONNECT_SECONDS = 1.0
#: Tries of a unit of work that PostgreSQL rolls back to break a deadlock. All writers take their locks in one
#: order, so a deadlock is rare.
DEADLOCK_TRIES = 3
_DEADLOCK = "40P01"
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
#: Errors of a commit that leave open whether PostgreSQL stored it.
_COMMIT_ERRORS = (DBAPIError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class PostgresDatabase(Database):
    dialect = "postgresql"
    single_process = False

    def __init__(self, url: URL, telemetry: Telemetry, operations: Iterable[str], pool_size: int) -> None:
        super().__init__(telemetry, operations)
        self.address = f"{url.host}:{url.port or 5432}/{url.database}"
        self._connect = partial(asyncpg.connect, libpq_url(url))
        self._probe = PostgresProbe(self._connect)
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_TIMEOUT_SECONDS,
        )
        # At READ COMMITTED each statement has a snapshot of its own, with or without a transaction: a read
        # saves the two round trips of one.
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        # Beside SQLAlchemy's pool, whose adapter costs a statement several times as much. It connects on use.
        self._pool = asyncpg.create_pool(libpq_url(url), min_size=0, max_size=pool_size, reset=_keep_session)
        self._to_notify: set[str] = set()
        self._notify_needed = asyncio.Event()
        self._notifications = asyncio.create_task(self._exchange_notifications())

    async def look(self) -> dict[str, str | bool]:
        return {"dialect": "postgresql", "address": self.address, **await self._probe.look()}

    async def _write_trial(self) -> None:
        await self._probe.write()

    def _connections_in_use(self) -> float:
        pool: Any = self._engine.pool
        return float(pool.checkedout() + self._pool.get_size() - self._pool.get_idle_size())

    async def migrate(self, packages: Sequence[str]) -> None:
        # Alembic is synchronous and process-wide: it runs in a thread with an event loop of its own.
        await asyncio.to_thread(lambda: asyncio.run(self._migrate(packages)))
        self._probe.tables = tuple(map(migrate.version_table, packages))

    async def _migrate(self, packages: Sequence[str]) -> None:
        engine = create_async_engine("postgresql+asyncpg://", async_creator=self._connect, poolclass=NullPool)
        for package in packages:
            async with engine.begin() as connection:
                await connection.run_sync(migrate.upgrade, package)
        await engine.dispose()

    async def _write(self, work: UnitOfWork[T]) -> T:
        for _ in range(DEADLOCK_TRIES - 1):
            try:
                return await self._write_once(work)
            except DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                    raise
                log.warning("deadlock", error=reason_of(error))
        return await self._write_once(work)

    async def _write_once(self, work: UnitOfWork[T]) -> T:
        async with self._engine.connect() as connection:
            result = await connection.run_sync(work)
            try:
                await connection.commit()
            except _COMMIT_ERRORS as error:
                # PostgreSQL may have committed before its answer was lost.
                raise CommitUnknownError(error) from error
            return result

    async def _read(self, work: UnitOfWork[T]) -> T:
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def execute(self, operation: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Runs one statement as a transaction of its own; returns its rows after the commit.

        Args:
            operation: bounded name of the work, a metric label.
            statement: SQL of PostgreSQL; its text should not vary, since each connection prepares it once.
            arguments: for ``$1`` and so on, as asyncpg takes them.

        Raises:
            StoreUnavailableError: as :meth:`write`.
            CommitUnknownError: as :meth:`write`.
        """
        return await self._run(operation, self._execute(statement, arguments), writes=True)

    async def _execute(self, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        pool = await self._pool
        async with pool.acquire(timeout=POOL_TIMEOUT_SECONDS) as connection:
            try:
                rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
            except _COMMIT_ERRORS as error:
                if _is_rolled_back(error):
                    raise
                # The statement commits by itself: PostgreSQL may have done so before its answer was lost.
                raise CommitUnknownError(error) from error
            return rows

    def notify(self, *channels: str) -> None:
        super().notify(*channels)
        self._to_notify.update(channels)
        self._notify_needed.set()

    async def _exchange_notifications(self) -> None:
        """Runs until cancelled. A notification that is lost only delays its subscribers, which also poll."""
        while True:
            try:
                await self._listen_and_notify()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("listen_failed", error=reason_of(error))
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _listen_and_notify(self) -> None:
        """Listens and notifies on one connection, until it is lost."""
        connection = await self._connect()
        try:
            connection.add_termination_listener(lambda _: self._notify_needed.set())
            await connection.add_listener(NOTIFY_CHANNEL, self._on_notification)
            while not connection.is_closed():
                channels, self._to_notify = sorted(self._to_notify), set()
                if channels:
                    await connection.execute(_NOTIFY, NOTIFY_CHANNEL, channels)
                await self._notify_needed.wait()
                await asyncio.sleep(NOTIFY_DEBOUNCE_SECONDS)
                self._notify_needed.clear()
        finally:
            connection.terminate()

    def _on_notification(self, connection: Any, pid: int, _channel: str, payload: object) -> None:
        # PostgreSQL echoes our own notifications, whose subscribers here were notified at once.
        if pid != connection.get_server_pid():
            self.notify_local(str(payload))

    async def close(self) -> None:
        self._notifications.cancel()
        await asyncio.gather(self._notifications, return_exceptions=True)
        self._probe.close()
        (await self._pool).terminate()
        await self._engine.dispose()


def libpq_url(url: URL) -> str:
    """Returns the URL with its password, for asyncpg and PostgreSQL's programs.

    ``ssl`` in it is another name of ``sslmode``. Without an ``application_name`` it gets ours.
    """
    options = {"sslmode" if name == "ssl" else name: value for name, value in url.query.items()}
    query = {"application_name": APPLICATION_NAME} | options
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)


async def _keep_session(_: asyncpg.Connection) -> None:
    """Replaces asyncpg's reset of a connection, a round trip: no statement here changes the session."""


def _is_rolled_back(error: BaseException) -> bool:
    """Returns whether PostgreSQL reported an error, or asyncpg refused to send the values."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    return getattr(error, "severity_en", None) == "ERROR" or isinstance(error, asyncpg.DataError)
