"""PostgreSQL over asyncpg: a transaction for each unit of work, LISTEN/NOTIFY between replicas.

What is hot enough can be one statement, which is a transaction by itself: one round trip and next to
nothing of our own CPU, where a unit of work takes three round trips and more, through SQLAlchemy.
"""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.database import migrate
from services.kit.database.interface import CommitUnknownError, Database, Work, reason_of
from services.kit.telemetry.telemetry import Telemetry

log = structlog.get_logger()
T = TypeVar("T")

NOTIFY_DEBOUNCE_SECONDS = 0.02
#: How often a unit of work is tried that deadlocks are broken by. Those who write take their locks in one
#: order: it takes what nobody thought of for this to happen at all.
DEADLOCKS = 3
_DEADLOCK = "40P01"
NOTIFY_CHANNEL = "cctelegram"
_NOTIFY = "SELECT pg_notify($1, payload) FROM unnest($2::text[]) AS payload"
_LOST = (DBAPIError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


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
        # A transaction of PostgreSQL's default kind shows each statement what is committed by then, as
        # none at all does: a read goes without the two round trips of one.
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        #: Connections of our own that are free; they are made as they are needed.
        self._straight: list[asyncpg.Connection] = []
        #: Server processes of all connections of our own.
        self._pids: set[int] = set()
        self._to_notify: set[str] = set()
        self._notify_needed = asyncio.Event()
        self._tasks = [asyncio.create_task(self._notify()), asyncio.create_task(self._listen())]

    async def promise(self) -> dict[str, str | bool]:
        query = text(
            "SELECT current_setting('synchronous_commit') AS synchronous,"
            " COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls"
        )
        row = await self.read("ping", lambda connection: connection.execute(query).one())
        return {
            "dialect": "postgresql",
            "synchronous": str(row.synchronous),
            "address": self.address,
            "tls": bool(row.tls),
        }

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
        for _ in range(DEADLOCKS - 1):
            try:
                return await self._write_once(work)
            except DBAPIError as error:
                # Given up by the server, as a whole, so that the other could go on: it has room now.
                if getattr(error.orig, "sqlstate", None) != _DEADLOCK:
                    raise
                log.warning("deadlock", error=reason_of(error))
        return await self._write_once(work)

    async def _write_once(self, work: Work[T]) -> T:
        async with self._engine.connect() as connection:
            result = await connection.run_sync(work)
            try:
                await connection.commit()
            except _LOST as error:
                # The server may have written the commit before its answer was lost.
                raise CommitUnknownError(error) from error
            return result

    async def _read(self, work: Work[T]) -> T:
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def execute(self, operation: str, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Runs one statement as a transaction of its own; returns its rows once it is durable.

        Args:
            operation: bounded name of the work, a metric label.
            statement: PostgreSQL's SQL; its text is what it is prepared by, so it should not vary.
            arguments: for ``$1`` and so on, as asyncpg takes them.

        Raises:
            StoreUnavailableError: as :meth:`write`.
        """
        return await self._timed(operation, self._execute(statement, arguments))

    async def _execute(self, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        connection = await self._free_connection()
        try:
            rows: list[asyncpg.Record] = await connection.fetch(statement, *arguments)
        except BaseException as error:
            if _is_taken_back(error):
                self._straight.append(connection)
                raise
            self._give_up(connection)
            if isinstance(error, _LOST):
                # It commits by itself: the server may have done so before its answer was lost.
                raise CommitUnknownError(error) from error
            raise
        self._straight.append(connection)
        return rows

    async def _free_connection(self) -> asyncpg.Connection:
        while self._straight:
            connection = self._straight.pop()
            if not connection.is_closed():
                return connection
            self._give_up(connection)
        connection = await self._connect()
        self._pids.add(connection.get_server_pid())
        return connection

    def _give_up(self, connection: asyncpg.Connection) -> None:
        self._pids.discard(connection.get_server_pid())
        connection.terminate()

    async def _connect(self) -> asyncpg.Connection:
        """Beside SQLAlchemy's pool, and by the same URL with all that is asked for in it."""
        _, wanted = self._engine.dialect.create_connect_args(self._url)
        its_own = ("prepared_statement_", "async_")
        return await asyncpg.connect(**{k: v for k, v in wanted.items() if not k.startswith(its_own)})

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
            with suppress(CommitUnknownError, *_LOST):  # they poll as well
                await self._execute(_NOTIFY, (NOTIFY_CHANNEL, sorted(channels)))

    async def _listen(self) -> None:
        while True:
            lost = asyncio.Event()
            try:
                connection = await self._connect()
                try:
                    connection.add_termination_listener(lambda *_, lost=lost: lost.set())
                    await connection.add_listener(NOTIFY_CHANNEL, self._heard)
                    await lost.wait()
                finally:
                    connection.terminate()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("listen_failed", error=reason_of(error))
            await asyncio.sleep(1)

    def _heard(self, _connection: Any, pid: int, _channel: str, payload: object) -> None:
        # Those who wait here were woken at once: what we told the others ourselves is no news.
        if pid not in self._pids:
            self.wake_here(str(payload))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._straight:
            self._give_up(connection)
        await self._engine.dispose()


def _is_taken_back(error: BaseException) -> bool:
    """Whether the server itself says that the statement failed; or it was never sent, for its values."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    return getattr(error, "severity_en", None) == "ERROR" or isinstance(error, asyncpg.DataError)
