"""The archive: a compressed tar file with the manifest and the parts, readable by its owner alone."""

import hashlib
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from services.backup import manifest
from services.backup.manifest import BackupError, Manifest, Part

SUFFIX = ".tar.gz"
_PREFIX = "cctelegram-"
_LARGEST_MANIFEST = 4_194_304
_BLOCK = 1_048_576
#: Fast, and within some percent of the smallest.
_LEVEL = 3


def name_of(now: float) -> str:
    """The name of an archive: names sort as their times do."""
    return f"{_PREFIX}{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"


def archives_in(folder: Path) -> list[Path]:
    """The archives of a folder, oldest first."""
    return sorted(folder.glob(f"{_PREFIX}*{SUFFIX}"))


def newest(path: Path) -> Path:
    """The newest archive of a folder; a file is taken as it is.

    Raises:
        BackupError: the folder has none.
    """
    if not path.is_dir():
        return path
    found = archives_in(path)
    if not found:
        raise BackupError(f"{path}: there is no archive ({_PREFIX}*{SUFFIX}) in this folder")
    return found[-1]


def checksum(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(target: Path, listed: Manifest, parts: Mapping[str, Path]) -> None:
    """Writes an archive; it has its name only when it is complete and on disk.

    Args:
        target: a new file.
        listed: the manifest.
        parts: the file of each part, by the part's name.
    """
    draft = target.with_name(f".{target.name}.draft")
    with _durable(draft) as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=_LEVEL) as tar:
        _add(tar, manifest.NAME, io.BytesIO(text := listed.model_dump_json(indent=1).encode()), len(text))
        for part in listed.parts:
            with parts[part.name].open("rb") as content:
                _add(tar, part.name, content, part.size)
    draft.rename(target)
    sync_folder(target.parent)


def _add(tar: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    tar.addfile(member, content)


def copy_durably(source: Path, target: Path) -> None:
    """Copies a file to a new one; returns when the copy is on disk."""
    with source.open("rb") as read, _durable(target) as written:
        shutil.copyfileobj(read, written, _BLOCK)


@contextmanager
def _durable(path: Path) -> Iterator[IO[bytes]]:
    """Writes a new file; it is on disk afterwards. If that fails, nothing is left: the disk may be full."""
    path.touch(mode=0o600, exist_ok=False)
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Returns when the names in a folder are on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verify(path: Path) -> Manifest:
    """Reads the whole archive and compares every checksum.

    Raises:
        BackupError: it is damaged, incomplete, or no archive.
    """
    return _read(path, None)[0]


def extract(path: Path, folder: Path) -> tuple[Manifest, Mapping[str, Path]]:
    """Verifies the archive and writes its parts into a folder.

    Returns:
        The manifest, and the file of each part by the part's name.

    Raises:
        BackupError: as :func:`verify`.
    """
    return _read(path, folder)


def read_manifest(path: Path) -> Manifest:
    """Reads the manifest alone; nothing is verified.

    Raises:
        BackupError: the file is no archive.
    """
    with _opened(path) as tar:
        return _manifest_of(path, tar)


@contextmanager
def _opened(path: Path) -> Iterator[tarfile.TarFile]:
    if not path.is_file():
        raise BackupError(f"{path}: there is no such file")
    try:
        with tarfile.open(path, mode="r|gz") as tar:
            yield tar
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the system, such as a full disk; gzip's own have no number
        raise BackupError(f"{path}: it is damaged, incomplete, or no backup: {error}") from None


def _manifest_of(path: Path, tar: tarfile.TarFile) -> Manifest:
    member = tar.next()
    content = tar.extractfile(member) if member is not None and member.isfile() else None
    if member is None or content is None or member.name != manifest.NAME or member.size > _LARGEST_MANIFEST:
        raise BackupError(f"{path}: it is no backup: it does not begin with {manifest.NAME}")
    return manifest.parse(content.read())


def _read(path: Path, folder: Path | None) -> tuple[Manifest, Mapping[str, Path]]:
    with _opened(path) as tar:
        listed = _manifest_of(path, tar)
        written: dict[str, Path] = {}
        for number, part in enumerate(listed.parts):
            member = tar.next()
            content = tar.extractfile(member) if member is not None and member.isfile() else None
            if member is None or content is None or (member.name, member.size) != (part.name, part.size):
                raise BackupError(f"{path}: {part.name} is missing or has another size")
            target = None if folder is None else folder / f"part-{number}"
            _copy(path, part, content, target)
            if target is not None:
                written[part.name] = target
        return listed, written


def _copy(path: Path, part: Part, content: IO[bytes], target: Path | None) -> None:
    found = hashlib.sha256()
    with Path(os.devnull if target is None else target).open("wb") as file:
        while block := content.read(_BLOCK):
            found.update(block)
            file.write(block)
        if target is not None:
            file.flush()
            os.fsync(file.fileno())
    if found.hexdigest() != part.sha256:
        raise BackupError(f"{path}: {part.name} is damaged: its checksum is another one")
