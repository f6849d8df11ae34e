"""Operations on the files of the folder. They block: call them in a thread.

Every step is on disk before the next one begins, so that a power loss leaves no half-done step.
"""

import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson
import uuid_utils

from services.kit.settings import StartError

TAKEN, REJECTED = ".taken", "rejected"
MOST_AT_ONCE = 200
#: Bytes of a file's name without ``.json`` that are kept, so that the names made of it stay within 255.
LONGEST_STEM = 200
_READ = os.O_RDONLY | os.O_CLOEXEC
_NO_FILE = "it is no regular file: copy the file itself into the folder, links are not followed"


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


class RefusedPathError(Exception):
    """A path that an event names cannot be read; its text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that may hold events.

    Args:
        path: where it is.
        name: that its writer gave it, cut and without bytes that are no text.
        size: in bytes.
        changed_at: nanoseconds since the epoch.
        taken: whether it was moved to ``.taken/``.
    """

    path: Path
    name: str
    size: int
    changed_at: int
    taken: bool

    @property
    def single_use(self) -> str:
        """The name under which its events are stored once; text, as the databases need it."""
        return _as_text(self.path.name)


@dataclass(frozen=True, slots=True)
class Taken:
    """The files that were moved, and why some were not; None if all were."""

    files: list[File]
    error: OSError | None = None


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
                        yield File(
                            Path(entry.path), _kept_name(name), known.st_size, known.st_mtime_ns, taken
                        )

    def read(self, file: File, most: int) -> bytes | None:
        """The content of a file, without a byte order mark; None if it has grown beyond ``most`` bytes.

        Raises:
            OSError: it cannot be read.
        """
        handle = os.open(file.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as opened:
            content = opened.read(most + 1)
        return content.removeprefix(b"\xef\xbb\xbf") if len(content) <= most else None

    def open_attached(self, path: str, most: int) -> int:
        """Opens a file that an event names, and returns its descriptor.

        Each folder on the way is opened by itself, relative to the one before: a link that is put there
        meanwhile is not followed.

        Args:
            path: relative to the folder.
            most: bytes that the file may have.

        Raises:
            RefusedPathError: it is no regular file inside the folder, is too large, or cannot be read.
        """
        *folders, name = _components(path)
        try:
            with ExitStack() as opened:
                at = _opened(opened, self.root, os.O_DIRECTORY)
                for one in folders:
                    at = _opened(opened, one, os.O_DIRECTORY | os.O_NOFOLLOW, at)
                handle = os.open(name, _READ | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at)
        except OSError as error:
            raise RefusedPathError(_why(error)) from None
        known = os.fstat(handle)
        if not stat.S_ISREG(known.st_mode) or known.st_size > most:
            os.close(handle)
            regular = stat.S_ISREG(known.st_mode)
            raise RefusedPathError(f"it has more than {most} bytes (MAX_FILE_BYTES)" if regular else _NO_FILE)
        return handle

    def take(self, files: Iterable[File]) -> Taken:
        """Moves files to ``.taken/`` under unique names; a later file of the same name is a new one.

        One that cannot be moved stays, and keeps no other one back.
        """
        ours: list[File] = []
        failed: OSError | None = None
        for file in files:
            path = self._taken / f"{uuid_utils.uuid7()}.{file.name}"
            try:
                file.path.rename(path)
                known = path.stat()
                ours.append(File(path, file.name, known.st_size, known.st_mtime_ns, taken=True))
            except FileNotFoundError:  # moved away again
                continue
            except OSError as error:
                failed = error
        self._sync(self._taken, self.root)
        return Taken(ours, failed)

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
        try:
            file.path.rename(path)
        except OSError:
            # It is tried again, with a reason of its own.
            self._reason_of(path).unlink()
            raise
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


def _as_text(name: str) -> str:
    """A file's name with U+FFFD for bytes that are no UTF-8: neither JSON nor a database takes them."""
    return os.fsencode(name).decode("utf-8", "replace")


def _kept_name(name: str) -> str:
    stem = _as_text(name.removesuffix(".json")).encode()[:LONGEST_STEM].decode("utf-8", "ignore")
    return f"{stem}.json"


def _components(path: str) -> list[str]:
    """The folders of an event's path and the name of its file.

    Raises:
        RefusedPathError: the path leads out of the folder, or to the intake's own files.
    """
    found = path.split("/")
    if path.startswith("/") or ".." in found:
        raise RefusedPathError("it leads out of EVENTS_DIR: name a file inside it, by its path from there")
    if any(not one or one.startswith(".") for one in found) or found[0] == REJECTED:
        text = f"it has an empty or hidden part, or is in {REJECTED}/: put the file elsewhere in EVENTS_DIR"
        raise RefusedPathError(text)
    return found


def _opened(opened: ExitStack, path: Path | str, flags: int, at: int | None = None) -> int:
    handle = os.open(path, _READ | flags, dir_fd=at)
    opened.callback(os.close, handle)
    return handle


def _why(error: OSError) -> str:
    if error.errno in {errno.ELOOP, errno.ENOTDIR, errno.ENXIO}:
        return _NO_FILE
    if error.errno == errno.ENOENT:
        return "EVENTS_DIR has no such file: put it there before the event"
    return f"it cannot be read: {error.strerror}"
