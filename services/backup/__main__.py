"""``python -m services.backup FOLDER``: writes a backup of everything that the suite stores into a folder.

The services may run. The settings are theirs: DATA_DIR and DATABASE_URL.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.backup import archive, command, postgres_dump, sqlite_copy, stores
from services.backup.command import say
from services.backup.manifest import Kind, Manifest, Part
from services.backup.settings import BackupSettings
from services.backup.sqlite_copy import Content
from services.backup.stores import Stores
from services.kit.clock import SystemClock, rfc3339
from services.kit.settings import add_env_file_option, load
from services.kit.telemetry.telemetry import VERSION

_NOTHING = Content({}, {})


def main(arguments: Sequence[str] | None = None) -> int:
    return command.run(_command, _parser().parse_args(arguments), "no backup")


def _command(options: argparse.Namespace) -> None:
    _backup(load(BackupSettings), options.folder, options.keep)


def _backup(settings: BackupSettings, folder: Path, keep: int | None) -> None:
    clock = SystemClock()
    found = stores.find(settings)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    target = folder / archive.name_of(clock.time())
    with tempfile.TemporaryDirectory(prefix=".cctelegram-backup-", dir=folder) as staging:
        copier = _Copier(Path(staging), clock)
        copier.copy_databases(found)
        copier.copy_files(found)
        listed = Manifest(version=VERSION, created_at=rfc3339(clock.time()), parts=tuple(copier.parts))
        archive.write(target, listed, copier.files)
    archive.verify(target)
    say(f"written and verified: {target} ({_size(target.stat().st_size)})")
    if keep is not None:
        _delete_old(folder, keep)


class _Copier:
    """Copies one store after the other into a folder.

    Databases come first: what moves from a database to a file meanwhile is then in both, and not in neither.
    """

    def __init__(self, staging: Path, clock: SystemClock) -> None:
        self._staging = staging
        self._clock = clock
        self.parts: list[Part] = []
        self.files: dict[str, Path] = {}

    def copy_databases(self, found: Stores) -> None:
        if found.postgres is not None:
            began, copy = self._clock.time(), self._new()
            content = asyncio.run(postgres_dump.dump(found.postgres, copy))
            self._add(Kind.POSTGRESQL, "databases/postgresql.dump", copy, began, content=content)
        for name, source in found.sqlite.items():
            began, copy = self._clock.time(), self._new()
            content = sqlite_copy.copy(source, copy)
            mode = source.stat().st_mode & 0o777
            self._add(Kind.SQLITE, f"databases/{name}", copy, began, content=content, mode=mode)

    def copy_files(self, found: Stores) -> None:
        for name, source in found.files.items():
            began, copy = self._clock.time(), self._new()
            archive.copy_durably(source, copy)
            self._add(Kind.FILE, f"files/{name}", copy, began, mode=source.stat().st_mode & 0o777)

    def _new(self) -> Path:
        return self._staging / f"part-{len(self.parts)}"

    def _add(
        self,
        kind: Kind,
        name: str,
        copy: Path,
        began: float,
        *,
        content: Content = _NOTHING,
        mode: int = 0o600,
    ) -> None:
        size = copy.stat().st_size
        part = Part(
            name=name,
            kind=kind,
            size=size,
            sha256=archive.checksum(copy),
            mode=mode,
            taken_at=began,
            revisions=dict(content.revisions),
            messages=dict(content.messages),
        )
        self.parts.append(part)
        self.files[name] = copy
        messages = f", {sum(part.messages.values())} messages" if part.revisions else ""
        say(f"copied      {name} ({_size(size)}{messages})")


def _delete_old(folder: Path, keep: int) -> None:
    for old in archive.archives_in(folder)[:-keep]:
        old.unlink()
        say(f"deleted     {old}")


def _size(number: int) -> str:
    return f"{number / 1_048_576:.1f} MiB" if number >= 1_048_576 else f"{number / 1024:.1f} KiB"  # noqa: PLR2004 - a MiB


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cct backup", description=__doc__)
    add_env_file_option(parser)
    parser.add_argument("folder", type=Path, help="where the archive is written")
    parser.add_argument(
        "--keep", type=_positive, help="how many archives stay in the folder; older ones are deleted"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a number from 1 on")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(main())
