"""Copies of SQLite databases: made while a service writes, with what is still in its log."""

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from services.backup.manifest import BackupError

#: Seconds to wait for a lock of the service.
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Content:
    """What a database holds.

    Args:
        revisions: by the name of the version table.
        messages: number by state.
    """

    revisions: Mapping[str, str]
    messages: Mapping[str, int]


def copy(source: Path, target: Path) -> Content:
    """Copies a database as of one moment, and checks the copy.

    Args:
        source: may be in use.
        target: a new file; its log is in it.

    Raises:
        BackupError: the database cannot be read, or is damaged.
    """
    try:
        with closing(_connect(source, "rw")) as connection:
            connection.execute("VACUUM INTO ?", (str(target),))
        return content_of(target)
    except sqlite3.Error as error:
        raise BackupError(f"{source}: cannot be copied: {error}") from error


def content_of(path: Path) -> Content:
    """Reads every page of a database, and what it holds.

    Raises:
        BackupError: it is damaged, or cannot be read.
    """
    try:
        with closing(_connect(path, "rw")) as connection:
            return _checked(connection, path)
    except sqlite3.Error as error:
        raise BackupError(f"{path}: cannot be read: {error}") from error


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    uri = f"{path.absolute().as_uri()}?mode={mode}"
    return sqlite3.connect(uri, uri=True, timeout=_PATIENCE, isolation_level=None)


def _checked(connection: sqlite3.Connection, path: Path) -> Content:
    faults = [row[0] for row in connection.execute("PRAGMA integrity_check(5)")]
    if faults != ["ok"]:
        raise BackupError(f"{path}: it is damaged: {'; '.join(faults)}")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    versions = sorted(name for name in tables if name.endswith("_version"))
    revisions = {
        name: str(row[0])
        for name in versions
        if (row := connection.execute(f'SELECT version_num FROM "{name}"').fetchone())  # noqa: S608 - of the schema
    }
    counted = "SELECT state, count(*) FROM message GROUP BY state ORDER BY state"
    messages = dict(connection.execute(counted)) if "message" in tables else {}
    return Content(revisions, messages)


def fold(path: Path) -> None:
    """Moves the log of a database into its file, so that the file alone is the database.

    Raises:
        BackupError: a service uses it.
    """
    try:
        with closing(_connect(path, "rw")) as connection:
            connection.execute("PRAGMA busy_timeout = 0")
            (mode,) = connection.execute("PRAGMA journal_mode = DELETE").fetchone()
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            return  # it is damaged: nobody can use it, and it is set aside as it is
        mode = "locked"
    except sqlite3.DatabaseError:
        return  # the same
    if mode != "delete":
        raise BackupError(f"{path}: a service uses it: stop the services first")
