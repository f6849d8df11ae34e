"""PostgreSQL over asyncpg: a transaction for each unit of work, LISTEN/NOTIFY between replicas."""

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg
import structlog
from sqlalchemy import NullPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit import migrate
from services.kit.database import CommitUnknownError, Database, Work, reason_of
from services.kit.telemetry import Telemetry

log = structlog.get_logger()
T = TypeVar("T")

NOTIFY_DEBOUNCE_SECONDS = 0.02
NOTIFY_CHANNEL = "cctelegram"
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
        async with self._engine.connect() as connection:
            result = await connection.run_sync(work)
            try:
                await connection.commit()
            except _LOST as error:
                # The server may have written the commit before its answer was lost.
                raise CommitUnknownError(error) from error
            return result

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
                log.warning("listen_failed", error=reason_of(error))
            await asyncio.sleep(1)

    def _heard(self, _connection: Any, _pid: int, _channel: str, payload: object) -> None:
        self.wake_here(str(payload))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._engine.dispose()
