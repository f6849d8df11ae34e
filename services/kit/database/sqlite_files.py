"""The files of an open SQLite database: those at its path must stay those that are open.

A file that was deleted or replaced is still written to by who has it open, and gone when they close it: what
is committed to it is not durable.
"""

from pathlib import Path

#: The write-ahead log and its shared memory; they exist while the database is open.
_SUFFIXES = ("", "-wal", "-shm")

FileId = tuple[int, int]


class FilesReplacedError(OSError):
    """A file of the database was deleted or replaced while it was open."""


class OpenFiles:
    """The files of one database, by device and inode.

    Args:
        path: of the database file.
    """

    def __init__(self, path: Path) -> None:
        self._paths = tuple(path.with_name(path.name + suffix) for suffix in _SUFFIXES)
        self._opened: tuple[tuple[Path, FileId], ...] = ()

    def remember(self) -> None:
        """Takes the files at the path as those that are open. Call it when SQLite has opened them."""
        found = [(path, _id_of(path)) for path in self._paths]
        self._opened = tuple((path, file_id) for path, file_id in found if file_id is not None)

    def check(self) -> None:
        """Compares each path with the file that is open.

        Raises:
            FilesReplacedError: one of them is another file now, or none.
        """
        for path, opened in self._opened:
            found = _id_of(path)
            if found != opened:
                happened = "deleted" if found is None else "replaced"
                raise FilesReplacedError(
                    f"{path} was {happened} while it was open: put the data back and start the service again"
                )


def _id_of(path: Path) -> FileId | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
