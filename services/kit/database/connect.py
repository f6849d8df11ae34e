"""Opens the database that a URL names: SQLite or PostgreSQL, behind one interface.

A unit of work is a synchronous function of a connection, in SQLAlchemy Core. SQLite runs all waiting ones in
one transaction, PostgreSQL each in its own; the call returns after the commit.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import asyncpg
import structlog
from alembic.util import CommandError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from services.kit.database.failures import reason_of
from services.kit.database.interface import CommitUnknownError, Database, StoreUnavailableError, upsert
from services.kit.database.postgres import PostgresDatabase
from services.kit.database.sqlite import SqliteDatabase
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry

__all__ = ["CommitUnknownError", "Database", "StoreUnavailableError", "open_database", "upsert"]

log = structlog.get_logger()

CONNECT_PATIENCE_SECONDS = 15.0
_URL_FORMATS = "write sqlite:///path or postgresql://user:password@host/name"


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
        telemetry: of the service; holds the query metrics.
        packages: packages with ``migrations``, e.g. ``services.outbox``, in order of dependency.
        operations: names of the units of work; their metric series exist from the start.
        pool_size: most connections of each of the two pools to PostgreSQL.
        patience: seconds to wait for a PostgreSQL that is still starting.

    Raises:
        StartError: the URL is wrong, or the database cannot be reached or written.
    """
    try:
        parsed = make_url(url)
    except Exception as error:
        # The library's message may contain a part of the password.
        raise StartError(f"DATABASE_URL: not a database URL: {_URL_FORMATS}") from error
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        return await _open_migrated(
            lambda: SqliteDatabase(Path(str(parsed.database)), telemetry, operations), packages, 0.0
        )
    if parsed.get_backend_name() == "postgresql" and parsed.host:
        return await _open_migrated(
            lambda: PostgresDatabase(parsed, telemetry, operations, pool_size), packages, patience
        )
    raise StartError(f"DATABASE_URL: {_URL_FORMATS}")


async def _open_migrated(make: Callable[[], Database], packages: Sequence[str], patience: float) -> Database:
    try:
        database = make()
    except OSError as error:
        raise StartError(f"DATA_DIR or DATABASE_URL: {error.strerror}: {error.filename}") from error
    give_up = time.monotonic() + patience
    while True:
        try:
            await database.migrate(packages)
        except (DBAPIError, OSError, asyncpg.PostgresError) as error:
            # A database that is still starting needs a moment; a wrong password never gets right.
            if time.monotonic() < give_up and isinstance(error, OSError | asyncpg.CannotConnectNowError):
                log.info("database_awaited", database=database.address, error=reason_of(error))
                await asyncio.sleep(0.5)
                continue
            await database.close()
            raise StartError(f"DATABASE_URL: cannot use {database.address}: {reason_of(error)}") from error
        except CommandError as error:
            await database.close()
            raise StartError(
                f"DATABASE_URL: {database.address} was written by another version of this program: {error}"
            ) from error
        return database
