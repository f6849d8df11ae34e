"""Probes PostgreSQL for health on connections of its own, so that it waits for no pool."""

from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

_LOOK = """
SELECT
  current_setting('transaction_read_only') = 'on' AS read_only,
  current_setting('synchronous_commit') AS synchronous,
  COALESCE((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls
"""
#: Replicas make their trials one after the other; an arbitrary number.
_TRIAL_LOCK = 0x6363_7477
# Rows of less than 2,000 bytes are stored as they are: neither compressed nor moved to another table.
_TRIAL = f"""
BEGIN;
SELECT pg_advisory_xact_lock({_TRIAL_LOCK});
DROP TABLE IF EXISTS write_trial;
CREATE TABLE write_trial AS SELECT repeat('x', 1900) AS filler FROM generate_series(1, 40);
COMMIT;
DROP TABLE IF EXISTS write_trial;
"""  # noqa: S608 - a constant


class PostgresProbe:
    """Reads from a database, and tries to write to it.

    Args:
        connect: opens a connection.

    Attributes:
        tables: that each look reads.
    """

    def __init__(self, connect: Callable[[], Awaitable[asyncpg.Connection]]) -> None:
        self.tables: tuple[str, ...] = ()
        self._connect = connect
        self._connection: asyncpg.Connection | None = None

    async def look(self) -> dict[str, str | bool]:
        """Returns ``synchronous`` and ``tls``.

        Raises:
            OSError: the database is read-only, or cannot be reached.
        """
        found = await self._look()
        if found["read_only"]:
            raise OSError(
                "the database is read-only: it is a standby, or default_transaction_read_only is on"
            )
        return {"synchronous": str(found["synchronous"]), "tls": bool(found["tls"])}

    async def _look(self) -> Any:
        if self._connection is not None:
            try:
                return await self._ask(self._connection)
            except (OSError, asyncpg.InterfaceError, asyncpg.PostgresConnectionError):
                self.close()  # it was lost since the last look: only a new one tells more
        self._connection = await self._connect()
        return await self._ask(self._connection)

    async def _ask(self, connection: asyncpg.Connection) -> Any:
        try:
            for table in self.tables:
                await connection.fetch(f"SELECT version_num FROM {table}")  # noqa: S608 - names of the code
            return await connection.fetchrow(_LOOK)
        except BaseException:
            self.close()  # also when it is cancelled: the answer may still come
            raise

    async def write(self) -> None:
        """Commits new pages to a table of its own, and drops it."""
        connection = await self._connect()
        try:
            await connection.execute(_TRIAL)
        finally:
            connection.terminate()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None
