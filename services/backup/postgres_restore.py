"""Puts a dump into PostgreSQL, so that no service starts on half of it.

A session holds the lock that every service takes at its start. Until the last transaction the version tables
are empty: should the restore be killed, a service that starts finds tables that it cannot explain, and stops.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import asyncpg
from sqlalchemy import Connection, StaticPool, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from services.backup import postgres_dump, sent_since, stores
from services.backup.manifest import BackupError, Part
from services.backup.postgres_dump import address_of, connected
from services.kit.database import migrate
from services.kit.database.failures import reason_of
from services.kit.database.postgres import APPLICATION_NAME
from services.outbox.delivery.after_restore import Unfinished, Unsent

#: A schema with earlier tables has this before the time.
SET_ASIDE = "replaced_"


async def restore(
    url: URL, part: Part, dumped: Path, unsent: Unsent, *, now: float
) -> tuple[Unfinished | None, str]:
    """Replaces the tables of a database.

    Args:
        url: of the database.
        part: the dump, as the manifest lists it.
        dumped: its file.
        unsent: what becomes of messages that waited at the backup.
        now: seconds since the epoch.

    Returns:
        The messages that waited, and the schema that the earlier tables are in now; empty: there were none.

    Raises:
        BackupError: a service uses the database, or it cannot be restored; the earlier tables are back then.
    """
    async with _alone(url) as holder:
        aside = await _set_aside(holder, now)
        try:
            await postgres_dump.restore(url, dumped)
            work = partial(_last_transaction, part=part, unsent=unsent, now=now)
            unfinished = await _transact(url, holder, work)
        except BaseException:
            await _put_back(holder, aside)
            raise
        return unfinished, aside


async def mark(url: URL, unsent: Unsent, *, backup_at: float, now: float) -> Unfinished | None:
    """Holds or marks in a database that something else has restored.

    Raises:
        BackupError: a service uses the database.
    """
    async with _alone(url) as holder:
        revisions = (await postgres_dump.content_of(holder)).revisions
        work = partial(_mark, packages=packages_of(revisions), unsent=unsent, backup_at=backup_at, now=now)
        return await _transact(url, holder, work)


@asynccontextmanager
async def _alone(url: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection that holds the lock of every start, while no service uses the database."""
    async with connected(url) as holder:
        if not await holder.fetchval("SELECT pg_try_advisory_lock($1)", migrate.ADVISORY_LOCK):
            raise BackupError(f"{address_of(url)}: a service is starting: stop the services first")
        await _refuse_when_used(holder, url)
        yield holder


async def has_tables(url: URL) -> bool:
    """Whether the database has any table."""
    async with connected(url) as connection:
        return bool(await postgres_dump.tables_of(connection))


async def _refuse_when_used(connection: asyncpg.Connection, url: URL) -> None:
    query = """
        SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = $1
    """
    used = await connection.fetchval(query, url.query.get("application_name", APPLICATION_NAME))
    if used:
        raise BackupError(f"{address_of(url)}: services use it ({used} connections): stop them first")


async def _set_aside(connection: asyncpg.Connection, now: float) -> str:
    """Moves all tables of the current schema to another one, and returns its name."""
    tables = sorted(await postgres_dump.tables_of(connection))
    if not tables:
        return ""
    schema = f"{SET_ASIDE}{datetime.fromtimestamp(now, UTC):%Y%m%dt%H%M%Sz}"
    async with connection.transaction():
        await connection.execute(f'CREATE SCHEMA "{schema}"')
        for name in tables:
            await connection.execute(f'ALTER TABLE "{name}" SET SCHEMA "{schema}"')
    return schema


async def _put_back(connection: asyncpg.Connection, schema: str) -> None:
    async with connection.transaction():
        for name in sorted(await postgres_dump.tables_of(connection)):
            await connection.execute(f'DROP TABLE "{name}" CASCADE')
        if schema:
            rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
            current = await connection.fetchval("SELECT current_schema()")
            for row in rows:
                name = row["tablename"]
                await connection.execute(f'ALTER TABLE "{schema}"."{name}" SET SCHEMA "{current}"')
            await connection.execute(f'DROP SCHEMA "{schema}"')


async def _transact(
    url: URL, holder: asyncpg.Connection, work: Callable[[Connection], Unfinished | None]
) -> Unfinished | None:
    """Runs the work in one transaction of this connection."""

    async def connect() -> asyncpg.Connection:
        return holder

    # On the session that holds the lock, since an upgrade takes it as well; this pool does not close it.
    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=StaticPool)
    try:
        async with engine.connect() as connection:
            unfinished = await connection.run_sync(work)
            await connection.commit()
            return unfinished
    except DBAPIError as error:
        raise BackupError(f"{address_of(url)}: {reason_of(error)}") from error


def _last_transaction(connection: Connection, part: Part, unsent: Unsent, now: float) -> Unfinished | None:
    """Writes the versions, upgrades, and holds or marks."""
    for table, revision in part.revisions.items():
        insert = text(f'INSERT INTO "{table}" (version_num) VALUES (:revision)')  # noqa: S608 - checked against ours
        connection.execute(insert, {"revision": revision})
    packages = packages_of(part.revisions)
    return _mark(connection, packages, unsent, backup_at=part.taken_at, now=now)


def _mark(
    connection: Connection, packages: Sequence[str], unsent: Unsent, *, backup_at: float, now: float
) -> Unfinished | None:
    for package in packages:
        migrate.upgrade(connection, package)
    return sent_since.apply(connection, packages, unsent, backup_at=backup_at, now=now)


def packages_of(revisions: Mapping[str, str]) -> Sequence[str]:
    """The packages of version tables, in order of dependency."""
    return [package for table, package in stores.PACKAGES.items() if table in revisions]
