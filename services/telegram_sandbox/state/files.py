"""Documents that bots sent, stored on disk; the oldest are deleted when their total size is too large."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

UNSAFE = re.compile(r"[^A-Za-z0-9.]+")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One document. `id` is specific to the bot, like Telegram's file_id."""

    id: str
    bot_id: int
    name: str
    mime: str
    size: int

    @property
    def unique_id(self) -> str:
        return self.id.rpartition("-")[2]

    @property
    def path(self) -> str:
        """The path that getFile returns, relative to the folder and to /file/bot<token>/."""
        return path_of(self.unique_id, self.name)


def path_of(unique_id: str, name: str) -> str:
    return f"documents/file_{unique_id}{UNSAFE.sub('', Path(name).suffix)[:16]}"


class Files:
    """Files by id; their content is in `folder`."""

    def __init__(self, folder: Path, max_total_bytes: int) -> None:
        self._folder = folder
        self._max_total = max_total_bytes
        self._total = 0
        self._by_id: dict[str, StoredFile] = {}

    def add(self, bot_id: int, name: str, mime: str, data: bytes) -> StoredFile:
        digest = hashlib.sha256(data + name.encode(errors="replace")).hexdigest()[:24]
        stored = StoredFile(f"BQACAgIAAxkB-{bot_id}-{digest}", bot_id, name, mime, len(data))
        (self._folder / "documents").mkdir(parents=True, exist_ok=True)
        (self._folder / stored.path).write_bytes(data)
        self.restore(stored)
        return stored

    def restore(self, stored: StoredFile) -> None:
        """Adds a file that is on disk; deletes the oldest ones if the total size is too large."""
        if stored.id not in self._by_id:
            self._total += stored.size
        self._by_id[stored.id] = stored
        while self._total > self._max_total and len(self._by_id) > 1:
            oldest = self._by_id.pop(next(iter(self._by_id)))
            self._total -= oldest.size
            (self._folder / oldest.path).unlink(missing_ok=True)

    def get(self, bot_id: int, file_id: str) -> StoredFile | None:
        stored = self._by_id.get(file_id)
        return stored if stored is not None and stored.bot_id == bot_id else None

    def by_path(self, bot_id: int | None, path: str) -> StoredFile | None:
        """Returns the file of a download path; `bot_id` None searches the files of all bots."""
        found = (file for file in self._by_id.values() if file.path == path)
        return next((file for file in found if bot_id in (None, file.bot_id)), None)

    def read(self, bot_id: int | None, path: str) -> bytes:
        """Returns a document's content; `bot_id` None searches the files of all bots.

        Raises:
            FileNotFoundError: there is no file with this path, or it was deleted from the folder.
        """
        stored = self.by_path(bot_id, path)
        if stored is None:
            raise FileNotFoundError(path)
        return (self._folder / stored.path).read_bytes()
