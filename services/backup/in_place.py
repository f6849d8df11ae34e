"""Holds or marks what may have been sent since, in databases that are where they belong."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from services.backup import postgres_restore, sent_since, sqlite_copy, stores
from services.backup.manifest import BackupError
from services.backup.postgres_dump import address_of
from services.backup.settings import BackupSettings
from services.kit.database.connect import open_database
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery.after_restore import Unfinished, Unsent


async def mark(
    settings: BackupSettings, unsent: Unsent, *, backup_at: float, now: float, say: Callable[[str], None]
) -> None:
    """Holds or marks in databases that something else has restored, such as a snapshot of a disk.

    Args:
        settings: where the databases are.
        unsent: what becomes of messages that waited at the backup.
        backup_at: the time that the databases are of, seconds since the epoch.
        now: seconds since the epoch.
        say: shows one line of progress.

    Raises:
        BackupError: a service uses a database, or it cannot be opened.
    """
    found = stores.find(settings)
    if found.postgres is not None:
        unfinished = await postgres_restore.mark(found.postgres, unsent, backup_at=backup_at, now=now)
        say(f"in place    {address_of(found.postgres)}")
        say_unfinished(say, unfinished)
    for path in found.sqlite.values():
        sqlite_copy.fold(path)
        revisions = sqlite_copy.content_of(path).revisions
        unfinished = await mark_sqlite(path, revisions, settings, unsent, backup_at=backup_at, now=now)
        say(f"in place    {path}")
        say_unfinished(say, unfinished)


async def mark_sqlite(
    path: Path,
    revisions: Mapping[str, str],
    settings: BackupSettings,
    unsent: Unsent,
    *,
    backup_at: float,
    now: float,
) -> Unfinished | None:
    """Upgrades a SQLite database that nobody uses, and holds or marks in it."""
    packages = postgres_restore.packages_of(revisions)
    telemetry = Telemetry("restore", settings)
    try:
        database = await open_database(f"sqlite:///{path}", telemetry, packages=packages)
    except StartError as error:
        raise BackupError(f"{path}: {error}") from error
    try:
        work = partial(sent_since.apply, packages=packages, unsent=unsent, backup_at=backup_at, now=now)
        return await database.write("restore", work)
    finally:
        await database.close()


def say_unfinished(say: Callable[[str], None], unfinished: Unfinished | None) -> None:
    """Shows how many messages were held and marked."""
    if unfinished is not None:
        say(
            f"            may have been sent since: {unfinished.held} held,"
            f" {unfinished.marked} marked; scheduled for later: {unfinished.scheduled}"
        )
