"""PostgreSQL's own programs: pg_dump makes a dump of one moment, pg_restore puts it back."""

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
from sqlalchemy.engine import URL

from services.backup.manifest import BackupError
from services.backup.sqlite_copy import Content
from services.kit.database.failures import reason_of
from services.kit.database.postgres import libpq_url

#: The package of the client programs, as Debian and its relatives name it.
PACKAGE = "postgresql-client"
#: The name of these connections in ``pg_stat_activity``.
APPLICATION_NAME = "cctelegram-backup"
#: Lines of a dump's list that are not restored: rows of version tables, and the schema, which is there.
_LEFT_OUT = re.compile(r" TABLE DATA \S+ \w+_version | SCHEMA - | (?:COMMENT|ACL) - SCHEMA ")


async def dump(url: URL, target: Path) -> Content:
    """Dumps the tables of the current schema as of one moment, while services use them.

    Other schemas and extensions are not in the dump: they belong to the server, or to other programs.

    Args:
        url: of the database.
        target: a new file, in pg_dump's custom format.

    Returns:
        What the dump holds.

    Raises:
        BackupError: pg_dump is missing or fails, or the database cannot be reached.
    """
    program = _find("pg_dump")
    async with connected(url) as connection, connection.transaction(isolation="repeatable_read"):
        snapshot, schema = await connection.fetchrow(
            "SELECT pg_export_snapshot(), quote_ident(current_schema())"
        )
        content = await content_of(connection)
        options = ("--format=custom", f"--schema={schema}", f"--snapshot={snapshot}")
        await _run(program, url, target, *options, f"--file={target}")
    return content


async def restore(url: URL, dumped: Path) -> None:
    """Puts a dump into a database without these tables, all of it or nothing.

    The rows of the version tables are left out: no service starts on the database until they are written.

    Args:
        url: of the database.
        dumped: by :func:`dump`.

    Raises:
        BackupError: pg_restore is missing or fails.
    """
    program = _find("pg_restore")
    listed = await _output(program, "--list", str(dumped))
    wanted = dumped.with_name("contents")
    wanted.write_text("\n".join(line for line in listed.splitlines() if not _LEFT_OUT.search(line)))
    await _run(
        program, url, dumped, "--single-transaction", "--exit-on-error", f"--use-list={wanted}", str(dumped)
    )


@asynccontextmanager
async def connected(url: URL) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the database.

    Raises:
        BackupError: the database cannot be reached, or refuses a statement.
    """
    try:
        connection = await asyncpg.connect(libpq_url(_named(url)))
        try:
            yield connection
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise BackupError(f"{address_of(url)}: {reason_of(error)}") from error


def address_of(url: URL) -> str:
    """Host and name of the database, without its password."""
    return f"postgresql://{url.host}:{url.port or 5432}/{url.database}"


async def content_of(connection: asyncpg.Connection) -> Content:
    """What the current schema holds."""
    tables = await tables_of(connection)
    revisions = {}
    for name in sorted(name for name in tables if name.endswith("_version")):
        found = await connection.fetchval(f'SELECT version_num FROM "{name}"')  # noqa: S608 - of the catalogue
        if found is not None:
            revisions[name] = str(found)
    counted = "SELECT state, count(*) AS number FROM message GROUP BY state ORDER BY state"
    rows = await connection.fetch(counted) if "message" in tables else ()
    return Content(revisions, {row["state"]: row["number"] for row in rows})


async def tables_of(connection: asyncpg.Connection) -> set[str]:
    """The tables in the current schema."""
    rows = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()")
    return {row["tablename"] for row in rows}


def _named(url: URL) -> URL:
    """The URL with the name of these connections, whatever name the services' have."""
    return url.update_query_dict({"application_name": APPLICATION_NAME})


def _find(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise BackupError(f"{program} is not installed: install the package {PACKAGE}")
    return found


async def _run(program: str, url: URL, beside: Path, *options: str) -> None:
    """Runs a program on the database. The password is in a file that its owner alone can read."""
    passfile = beside.with_name("passfile")
    passfile.touch(mode=0o600)
    fields = (url.host, url.port or 5432, url.database, url.username, url.password or "")
    escaped = ":".join(str(field).replace("\\", r"\\").replace(":", r"\:") for field in fields)
    passfile.write_text(f"{escaped}\n")
    # URL.set() would keep the password.
    without_password = _named(url)._replace(password=None).update_query_dict({"passfile": str(passfile)})
    dbname = f"--dbname={libpq_url(without_password)}"
    try:
        await _output(program, "--no-owner", "--no-privileges", "--no-password", dbname, *options)
    finally:
        passfile.unlink()


async def _output(program: str, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        output, complaint = await process.communicate()
    finally:
        if process.returncode is None:  # interrupted: it must not go on alone
            process.kill()
            await process.wait()
    if process.returncode:
        raise BackupError(f"{Path(program).name} failed: {complaint.decode(errors='replace').strip()}")
    return output.decode()
