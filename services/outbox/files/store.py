"""The store of files: in the database, so that every replica and every backup has them.

A file is written chunk by chunk as its bytes arrive, each chunk in a transaction of its own: an upload keeps
neither its bytes in memory nor a transaction open. The same content is stored once.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import uuid_utils
from sqlalchemy import Connection, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox.files import content
from services.outbox.files.limits import LARGEST_FILE
from services.outbox.files.tables import event_file, file, file_chunk

#: Bytes of a chunk; an upload or a download has about two of them in memory.
CHUNK = 1 << 20
#: Seconds that a file stays which no event names.
UNUSED_SECONDS = 3_600.0
#: Files that one transaction of the sweep deletes: each may have 50 MiB.
SWEEP_PORTION = 5


class FileGoneError(Exception):
    """A file that is to be read was deleted."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A stored file; ``width`` and ``height`` are pixels of an image."""

    id: str
    size: int
    sha256: str
    media_type: str
    width: int | None = None
    height: int | None = None

    @property
    def pixels(self) -> tuple[int | None, int | None]:
        return self.width, self.height


class FileStore:
    """Writes, finds and reads files.

    Args:
        database: of the engine.
        clock: the time.
        max_bytes: of one file.
        max_total_bytes: of all files.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        max_bytes: int = LARGEST_FILE,
        max_total_bytes: int = 10 << 30,
    ) -> None:
        self._database = database
        self._clock = clock
        self.max_bytes = max_bytes
        self.max_total_bytes = max_total_bytes

    async def write(self, pieces: AsyncIterable[bytes]) -> StoredFile:
        """Stores a file as its bytes arrive; returns after the commit.

        Args:
            pieces: its bytes, in pieces of any size.

        Raises:
            Problem: 413, it is larger than ``max_bytes``; 422, it is empty; 507, the store is full.
            StoreUnavailableError: the database refused it.
        """
        file_id, size, number, digest = str(uuid_utils.uuid7()), 0, 0, hashlib.sha256()
        try:
            async for block in _blocks(pieces):
                size += len(block)
                self._check_size(size)
                await self._database.write(
                    "file", partial(self._add, file_id=file_id, number=number, block=block)
                )
                digest.update(block)
                number += 1
            return await self._finish(file_id, digest.hexdigest(), size)
        except Exception:
            if size:
                await self._database.write("file", partial(_delete, ids=[file_id]))
            raise

    def _add(self, connection: Connection, *, file_id: str, number: int, block: bytes) -> None:
        now = self._clock.time()
        if total(connection) + len(block) > self.max_total_bytes:
            raise full(self.max_total_bytes)
        if number == 0:
            found = content.content_of(block)
            row = {"media_type": found.media_type, "width": found.width, "height": found.height}
            connection.execute(insert(file).values(id=file_id, size=0, created_at=now, touched_at=now, **row))
        connection.execute(insert(file_chunk).values(file_id=file_id, number=number, content=block))
        grown = {"size": file.c.size + len(block), "touched_at": now}
        connection.execute(update(file).where(file.c.id == file_id).values(grown))

    def _check_size(self, size: int) -> None:
        if size > self.max_bytes:
            raise too_large(self.max_bytes)

    async def _finish(self, file_id: str, sha256: str, size: int) -> StoredFile:
        if not size:
            raise Problem(422, "Empty file", "The file has no bytes, and Telegram takes no empty file.")
        work = partial(_finish, file_id=file_id, sha256=sha256, size=size, now=self._clock.time())
        try:
            return await self._database.write("file", work)
        except IntegrityError:
            # Another upload of the same content was finished meanwhile: now this one is found to be a copy.
            return await self._database.write("file", work)

    async def find(self, ids: Collection[str]) -> Mapping[str, StoredFile]:
        """The stored files among these, by id."""
        return await self._database.read("file", partial(find, ids=ids))

    async def read(self, file_id: str) -> AsyncIterator[bytes]:
        """The content of a file, chunk by chunk.

        Raises:
            FileGoneError: a chunk that should be there is not.
        """
        known = (await self.find([file_id])).get(file_id)
        if known is None:
            raise FileGoneError(file_id)
        for number in range(-(-known.size // CHUNK)):
            chunk = await self._database.read("file", partial(_chunk, file_id=file_id, number=number))
            if chunk is None:
                raise FileGoneError(file_id)
            yield chunk

    async def total(self) -> int:
        """Bytes of all files, whole and unfinished."""
        return await self._database.read("file", total)


def too_large(limit: int) -> Problem:
    return Problem(413, "Content Too Large", f"A file may have {limit} bytes (MAX_FILE_BYTES).")


def full(limit: int) -> Problem:
    text = (
        f"All files together may have {limit} bytes (FILES_MAX_TOTAL_BYTES). A file leaves with the messages "
        "that show it (RETENTION_DAYS), or an hour after its upload if no event names it."
    )
    return Problem(507, "File store full", text)


async def _blocks(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in blocks of :data:`CHUNK`; the last one may be shorter."""
    waiting = bytearray()
    async for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK:
            yield bytes(waiting[:CHUNK])
            del waiting[:CHUNK]
    if waiting:
        yield bytes(waiting)


def total(connection: Connection) -> int:
    """Bytes of all files, whole and unfinished."""
    return int(connection.execute(select(func.coalesce(func.sum(file.c.size), 0))).scalar_one())


def find(connection: Connection, ids: Collection[str]) -> dict[str, StoredFile]:
    """The stored files among these, by id; an unfinished one is not stored."""
    query = select(file).where(file.c.id.in_(sorted(ids)), file.c.sha256.is_not(None))
    return {row.id: _of_row(row) for row in connection.execute(query)}


def _of_row(row: Any) -> StoredFile:
    return StoredFile(row.id, row.size, row.sha256, row.media_type, row.width, row.height)


def _finish(connection: Connection, file_id: str, sha256: str, size: int, now: float) -> StoredFile:
    """Completes an upload; where its content is stored already, that file replaces it."""
    same = update(file).where(file.c.sha256 == sha256, file.c.size == size).values(touched_at=now)
    known = connection.execute(same.returning(*file.c)).first()
    if known is not None:
        _delete(connection, [file_id])
        return _of_row(known)
    whole = update(file).where(file.c.id == file_id).values(sha256=sha256, touched_at=now)
    return _of_row(connection.execute(whole.returning(*file.c)).one())


def _chunk(connection: Connection, file_id: str, number: int) -> bytes | None:
    query = select(file_chunk.c.content).where(file_chunk.c.file_id == file_id, file_chunk.c.number == number)
    return connection.execute(query).scalar_one_or_none()


def _delete(connection: Connection, ids: Collection[str]) -> int:
    connection.execute(delete(file_chunk).where(file_chunk.c.file_id.in_(sorted(ids))))
    return connection.execute(delete(file).where(file.c.id.in_(sorted(ids)))).rowcount


def sweep(connection: Connection, before: float, most: int = SWEEP_PORTION) -> int:
    """Deletes some files that no event names, and uploads that were never finished.

    Args:
        connection: in a transaction.
        before: seconds since the epoch; a file that was uploaded or named since then stays.
        most: files.

    Returns:
        The number of deleted files.
    """
    unused = (
        file.c.touched_at < before,
        ~exists().where(event_file.c.file_id == file.c.id),
    )
    # Locked, so that an event that names one of them now waits, and then finds that it is gone.
    query = select(file.c.id).where(*unused).order_by(file.c.id).limit(most)
    ids = connection.execute(query.with_for_update(skip_locked=True)).scalars().all()
    return _delete(connection, ids) if ids else 0
