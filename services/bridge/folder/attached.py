"""Files that events of the folder name by a path: stored before the events, which name them by ID then."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from services.bridge.events import addressed
from services.bridge.files import names
from services.bridge.folder.files import Folder, RefusedPathError
from services.kit.errors import Problem, invalid_input
from services.outbox.files.store import FileStore, full

#: Bytes that are read at once.
PIECE = 1 << 20
#: Stands for the ID of a file that is not stored yet.
_PENDING = "pending"
#: Statuses from here on are of a store that takes no file now; any other one is about the file.
NOT_NOW = 500


@dataclass(frozen=True, slots=True)
class _Named:
    """An attachment in the JSON of a file, the path that it had, and where that stood."""

    attachment: dict[str, Any]
    path: str
    where: tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """The events of a file whose attachments are not stored yet.

    Args:
        events: one event or a list, as JSON values; attachments with a path have an ID that no file has.
        named: the attachments that had a path.
    """

    events: Any
    named: tuple[_Named, ...]

    @property
    def body(self) -> bytes:
        """The events as JSON."""
        return orjson.dumps(self.events)


def draft(body: bytes) -> Draft | None:
    """The events of a file; None if none of them names a file by a path.

    Args:
        body: one event or a list of events, JSON.

    Raises:
        Problem: 422, one entry for each invalid field.
    """
    # A key may be written with escapes.
    if b"path" not in body and b"\\u" not in body:
        return None
    addressed.parse(body)
    events = orjson.loads(body)
    named = tuple(_named(events))
    return Draft(events, named) if named else None


def _named(events: Any) -> Iterator[_Named]:
    for number, event in enumerate(events if isinstance(events, list) else [events]):
        place: tuple[int, ...] = (number,) if isinstance(events, list) else ()
        for position, one in enumerate(event.get("attachments", ())):
            path = one.pop("path", None)
            if path is not None:
                one["file_id"] = _PENDING
                yield _Named(one, path, (*place, "attachments", position, "path"))


async def stored(of: Draft, folder: Folder, store: FileStore) -> bytes:
    """Stores the files of a draft, and returns its events with their IDs, as JSON.

    The same content is stored once, so that a second reading after a crash stores nothing more.

    Args:
        of: the draft.
        folder: that the paths are relative to.
        store: of the files.

    Raises:
        Problem: 422, a file cannot be taken; 5xx, the store takes none now.
    """
    for one in of.named:
        await _store(one, folder, store)
    return of.body


async def _store(one: _Named, folder: Folder, store: FileStore) -> None:
    try:
        handle = await asyncio.to_thread(folder.open_attached, one.path, store.max_bytes)
    except RefusedPathError as error:
        raise invalid_input([{"loc": one.where, "msg": str(error)}]) from None
    try:
        if await store.total() + os.fstat(handle).st_size > store.max_total_bytes:
            raise full(store.max_total_bytes)
        found = await store.write(_pieces(handle))
    except Problem as problem:
        if problem.status >= NOT_NOW:
            raise
        # It has grown since it was opened, or is empty.
        raise invalid_input([{"loc": one.where, "msg": problem.detail or problem.title}]) from None
    finally:
        os.close(handle)
    one.attachment["file_id"] = found.id
    if not one.attachment.get("filename"):
        one.attachment["filename"] = names.complete(names.of_path(one.path), found.media_type)


async def _pieces(handle: int) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(os.read, handle, PIECE):
        yield piece
