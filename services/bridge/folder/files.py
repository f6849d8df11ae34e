"""Operations on the files of the folder. They block: call them in a thread.

Every step is on disk before the next one begins, so that a power loss leaves no half-done step.
"""

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import uuid_utils

from services.kit.settings import StartError

TAKEN, REJECTED = ".taken", "rejected"
MOST_AT_ONCE = 200


def folder_of(root: Path) -> "Folder":
    """Opens the folder and creates what is missing.

    Raises:
        StartError: the folder cannot be used.
    """
    folder = Folder(root)
    try:
        folder.prepare()
    except OSError as error:
        raise StartError(f"EVENTS_DIR: cannot use {error.filename}: {error.strerror}") from error
    return folder


@dataclass(frozen=True, slots=True)
class File:
    """A file that may hold events.

    Args:
        path: where it is.
        name: that its writer gave it.
        size: in bytes.
        changed_at: nanoseconds since the epoch.
        taken: whether it was moved to ``.taken/``.
    """

    path: Path
    name: str
    size: int
    changed_at: int
    taken: bool


class Folder:
    """The folder itself.

    Args:
        root: EVENTS_DIR.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._taken = root / TAKEN
        self._rejected = root / REJECTED
        self._lock: int | None = None

    def prepare(self) -> None:
        """Creates what is missing.

        Raises:
            OSError: the folder cannot be used.
        """
        for folder in (self.root, self._taken, self._rejected):
            folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> bool:
        """Locks the folder for this process, until :meth:`close`; False if another process has it.

        A folder that was deleted and created again is locked anew.

        Raises:
            OSError: the folder cannot be used.
        """
        if self._lock is not None and self._is_locked_here(self._lock):
            return True
        self.close()
        # The folder itself is not created: its writers would not know of it.
        for folder in (self._taken, self._rejected):
            folder.mkdir(exist_ok=True)
        lock = os.open(self._taken / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            return False
        self._lock = lock
        return True

    def _is_locked_here(self, lock: int) -> bool:
        try:
            return os.path.samestat(os.fstat(lock), (self._taken / ".lock").stat())
        except FileNotFoundError:
            return False

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def waiting(self) -> list[File]:
        """The waiting files: first those taken before a crash, then the new ones, oldest first."""
        found = [*self._files(self._taken, taken=True), *self._files(self.root, taken=False)]
        found.sort(key=lambda file: (not file.taken, file.changed_at, file.name))
        return found

    def _files(self, folder: Path, *, taken: bool) -> Iterator[File]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.name.endswith(".json"):
                    continue
                with suppress(FileNotFoundError):  # moved away again
                    known = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(known.st_mode):
                        name = entry.name.partition(".")[2] if taken else entry.name
                        yield File(Path(entry.path), name, known.st_size, known.st_mtime_ns, taken)

    def read(self, file: File) -> bytes:
        """The content of a file, without a byte order mark."""
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            return opened.read().removeprefix(b"\xef\xbb\xbf")

    def take(self, files: Iterable[File]) -> list[File]:
        """Moves files to ``.taken/`` under unique names; a later file of the same name is a new one."""
        ours = []
        for file in files:
            path = self._taken / f"{uuid_utils.uuid7()}.{file.name}"
            with suppress(FileNotFoundError):  # moved away again
                file.path.rename(path)
                known = path.stat()
                ours.append(File(path, file.name, known.st_size, known.st_mtime_ns, taken=True))
        self._sync(self._taken, self.root)
        return ours

    def remove(self, files: Iterable[File]) -> None:
        """Removes files whose events are committed."""
        for file in files:
            file.path.unlink(missing_ok=True)
        self._sync(self._taken)

    def reject(self, file: File, reason: dict[str, object]) -> None:
        """Moves a file to ``rejected/``, with the reason beside it."""
        path = self._rejected / file.name
        if path.exists() or self._reason_of(path).exists():
            path = self._rejected / f"{file.name.removesuffix('.json')}.{uuid_utils.uuid7()}.json"
        with self._reason_of(path).open("wb") as written:
            written.write(orjson.dumps({"file": path.name, **reason}, option=orjson.OPT_INDENT_2) + b"\n")
            written.flush()
            os.fsync(written.fileno())
        file.path.rename(path)
        self._sync(self._rejected, file.path.parent)

    @staticmethod
    def _reason_of(path: Path) -> Path:
        return path.with_name(path.name.removesuffix(".json") + ".reason.json")

    @staticmethod
    def _sync(*folders: Path) -> None:
        for folder in folders:
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
