"""The steps of a restore: verify everything first, then replace, and never leave a half."""

import errno
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.engine import URL

from services.backup import archive, in_place, manifest, postgres_restore, sqlite_copy, stores
from services.backup.manifest import BackupError, Kind, Manifest, Part
from services.backup.postgres_dump import address_of
from services.backup.settings import BackupSettings
from services.kit.database import migrate
from services.outbox.delivery.after_restore import Unfinished, Unsent

#: What a replaced file's name ends with, before the time.
SET_ASIDE = ".replaced-"
#: A deployment may own a secret itself, as Docker Compose does: it is not ours to write.
_NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the operator chose.

    Args:
        unsent: what becomes of messages that waited at the backup.
        overwrite: whether data that is there is replaced; it is set aside.
    """

    unsent: Unsent
    overwrite: bool


async def restore(
    path: Path, settings: BackupSettings, choices: Choices, *, now: float, say: Callable[[str], None]
) -> None:
    """Restores a backup to where the settings say.

    Args:
        path: the archive.
        settings: where the data belongs.
        choices: of the operator.
        now: seconds since the epoch.
        say: shows one line of progress.

    Raises:
        BackupError: nothing was replaced, or what was is named in the text.
    """
    listed = archive.read_manifest(path)
    check_versions(listed)
    await _check_targets(listed, settings, choices)
    with tempfile.TemporaryDirectory(prefix=".cctelegram-restore-", dir=path.parent) as staging:
        listed, files = archive.extract(path, Path(staging))
        say(f"verified    {len(listed.parts)} parts of {path.name}, of {listed.created_at}")
        recovery = _Recovery(settings, choices, files, now, say)
        for part in listed.of_kind(Kind.POSTGRESQL):
            await recovery.restore_postgres(part)
        for part in listed.of_kind(Kind.SQLITE):
            await recovery.restore_sqlite(part)
        for part in listed.of_kind(Kind.FILE):
            recovery.restore_file(part)


def check_versions(listed: Manifest) -> None:
    """Refuses a backup of a newer program.

    Raises:
        BackupError: it is.
    """
    known = {table: migrate.known_revisions(package) for table, package in stores.PACKAGES.items()}
    manifest.check_revisions(listed, known)


async def _check_targets(listed: Manifest, settings: BackupSettings, choices: Choices) -> None:
    """Looks for everything that speaks against the restore, before anything is changed."""
    url = stores.database_url(settings)
    postgres = url if url is not None and stores.sqlite_path(url) is None else None
    _check_kinds(listed, postgres)
    there: list[str] = []
    if (
        postgres is not None
        and listed.of_kind(Kind.POSTGRESQL)
        and await postgres_restore.has_tables(postgres)
    ):
        there.append(address_of(postgres))
    for part in listed.parts:
        if part.kind is Kind.POSTGRESQL:
            continue
        target = stores.target_of(part.path, settings)
        if target.exists():
            there.append(str(target))
    if there and not choices.overwrite:
        lines = [f"{name}: there is data already" for name in there]
        how = "stop the services, and add --overwrite to set it aside and restore the backup"
        raise BackupError("\n".join([*lines, how]))
    for part in listed.of_kind(Kind.SQLITE):
        target = stores.target_of(part.path, settings)
        if target.exists():
            sqlite_copy.fold(target)


def _check_kinds(listed: Manifest, postgres: URL | None) -> None:
    has_dump = bool(listed.of_kind(Kind.POSTGRESQL))
    if has_dump and postgres is None:
        raise BackupError("the backup holds a PostgreSQL database: set DATABASE_URL to where it belongs")
    if postgres is not None and not has_dump:
        raise BackupError("DATABASE_URL is PostgreSQL, and the backup holds SQLite alone: unset DATABASE_URL")


class _Recovery:
    """Replaces one part after the other.

    Args:
        settings: where the data belongs.
        choices: of the operator.
        files: the verified file of each part, by its name.
        now: seconds since the epoch.
        say: shows one line of progress.
    """

    def __init__(
        self,
        settings: BackupSettings,
        choices: Choices,
        files: Mapping[str, Path],
        now: float,
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._choices = choices
        self._files = files
        self._now = now
        self._say = say

    async def restore_postgres(self, part: Part) -> None:
        url = stores.database_url(self._settings)
        assert url is not None  # noqa: S101 - checked before
        unfinished, aside = await postgres_restore.restore(
            url, part, self._files[part.name], self._choices.unsent, now=self._now
        )
        if aside:
            self._say(f"set aside   the earlier tables, to the schema {aside}")
        self._restored(address_of(url), part, unfinished)

    async def restore_sqlite(self, part: Part) -> None:
        """Upgrades and marks the copy, which then takes its place by a rename."""
        copy, target = self._files[part.name], stores.target_of(part.path, self._settings)
        unfinished = await in_place.mark_sqlite(
            copy,
            part.revisions,
            self._settings,
            self._choices.unsent,
            backup_at=part.taken_at,
            now=self._now,
        )
        sqlite_copy.fold(copy)
        if target.exists():
            sqlite_copy.fold(target)  # once more: a service may have started meanwhile
        self._put(copy, target, part)
        self._restored(str(target), part, unfinished)

    def restore_file(self, part: Part) -> None:
        source, target = self._files[part.name], stores.target_of(part.path, self._settings)
        if target.exists() and archive.checksum(target) == part.sha256:
            self._say(f"unchanged   {target}")
            return
        try:
            self._put(source, target, part)
        except OSError as error:
            if error.errno not in _NOT_ALLOWED:
                raise
            self._say(f"not written {target}: {error.strerror}; see docs/backup.md")
            return
        self._say(f"restored    {target}")

    def _put(self, source: Path, target: Path, part: Part) -> None:
        """Moves a file to its place; one that is there is set aside."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # Copied first: the data folder may be on another file system than the archive.
        draft = target.with_name(f".{target.name}.restored")
        draft.unlink(missing_ok=True)
        archive.copy_durably(source, draft)
        draft.chmod(part.mode)
        for suffix in ("", "-wal", "-shm"):
            self._set_aside(target.with_name(target.name + suffix))
        draft.rename(target)
        archive.sync_folder(target.parent)

    def _set_aside(self, path: Path) -> None:
        if path.exists():
            time = f"{datetime.fromtimestamp(self._now, UTC):%Y%m%dT%H%M%SZ}"
            path.rename(aside := path.with_name(f"{path.name}{SET_ASIDE}{time}"))
            self._say(f"set aside   {aside}")

    def _restored(self, where: str, part: Part, unfinished: Unfinished | None) -> None:
        total = sum(part.messages.values())
        self._say(f"restored    {where}: {total} messages")
        in_place.say_unfinished(self._say, unfinished)
