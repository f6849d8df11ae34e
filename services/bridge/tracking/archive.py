"""The archive: finished messages as compressed JSON Lines, one file a day, each message exactly once.

A portion is appended as a gzip member, and is on disk before its messages are deleted. Before a file grows,
its size is noted in the database; the transaction that deletes the messages deletes the note too. If a note
is left over, the messages still exist: the file is cut back to the noted size, and they are archived again.
"""

import fcntl
import gzip
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import uuid_utils
from sqlalchemy import Connection, delete, exists, insert, select

from services.bridge.tracking.schema import archiving
from services.kit.clock import rfc3339
from services.outbox.files import attached
from services.outbox.messages import FINISHED
from services.outbox.queries import message_timeline
from services.outbox.queries.message_timeline import MessageTimeline
from services.outbox.schema import album_message, attempt, change, event, message

_FINISHED = [state.value for state in FINISHED]


class ChangedMeanwhileError(Exception):
    """Some of the messages were replayed meanwhile; the portion is read again without them."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Messages that ended on the same day."""

    day: str
    lives: Sequence[MessageTimeline]

    @property
    def seqs(self) -> list[int]:
        return [life.message["seq"] for life in self.lives]


@dataclass(frozen=True, slots=True)
class Note:
    """A file that is about to grow, and its size before."""

    id: str
    file: str
    size_before: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """The number of deleted rows of each table."""

    messages: int
    attempts: int
    changes: int
    events: int


def day_of(seconds: float) -> str:
    """The day of a time, UTC; the calendar's first or last for one outside of it."""
    return rfc3339(seconds).partition("T")[0]


def old(connection: Connection, before: float, most: int) -> Portion | None:
    """The oldest finished messages, all of one day; None if none is old enough."""
    query = (
        select(message.c.seq, message.c.finished_at)
        .where(message.c.finished_at < before, message.c.state.in_(_FINISHED))
        .order_by(message.c.finished_at)
        .limit(most)
    )
    rows = connection.execute(query).all()
    if not rows:
        return None
    day = day_of(rows[0].finished_at)
    seqs = [row.seq for row in rows if day_of(row.finished_at) == day]
    return Portion(day, message_timeline.timelines(connection, seqs, with_body=True))


def note(connection: Connection, place: str, made: Note, now: float) -> None:
    connection.execute(
        insert(archiving).values(
            id=made.id, place=place, file=made.file, size_before=made.size_before, at=now
        )
    )


def notes(connection: Connection) -> list[Any]:
    """The notes of unfinished portions, oldest first."""
    return list(connection.execute(select(archiving).order_by(archiving.c.id)).mappings())


def delete_note(connection: Connection, note_id: str) -> None:
    connection.execute(delete(archiving).where(archiving.c.id == note_id))


def remove(connection: Connection, portion: Portion, note_id: str) -> Deleted:
    """Deletes archived messages, with the note of the portion.

    Raises:
        ChangedMeanwhileError: some are not finished any more; nothing is deleted.
    """
    seqs = portion.seqs
    finished = select(message.c.seq).where(message.c.seq.in_(seqs), message.c.state.in_(_FINISHED))
    still = connection.execute(finished.where(message.c.finished_at.is_not(None)).with_for_update()).all()
    if len(still) != len(seqs) or _replayed(connection, portion):
        raise ChangedMeanwhileError
    connection.execute(delete(album_message).where(album_message.c.message_seq.in_(seqs)))
    attempts = connection.execute(delete(attempt).where(attempt.c.message_seq.in_(seqs))).rowcount
    changes = connection.execute(delete(change).where(change.c.message_seq.in_(seqs))).rowcount
    messages = connection.execute(delete(message).where(message.c.seq.in_(seqs))).rowcount
    events = _remove_events(connection, {life.message["event_id"] for life in portion.lives})
    delete_note(connection, note_id)
    return Deleted(messages, attempts, changes, events)


def _replayed(connection: Connection, portion: Portion) -> bool:
    """Whether a message was replayed and finished again since it was read; the archive lacks that then."""
    known = {life.message["seq"]: life.message["finished_at"] for life in portion.lives}
    query = select(message.c.seq, message.c.finished_at).where(message.c.seq.in_(list(known)))
    return any(known[row.seq] != row.finished_at for row in connection.execute(query))


def _remove_events(connection: Connection, ids: Iterable[str]) -> int:
    """Deletes events without other messages.

    The events are locked first: two portions may hold the last messages of one event.
    """
    mine = select(event.c.id).where(event.c.id.in_(sorted(ids))).order_by(event.c.id).with_for_update()
    locked = connection.execute(mine).scalars().all()
    mine_alone = (event.c.id.in_(locked), ~exists().where(message.c.event_id == event.c.id))
    attached.delete_of_events(
        connection, connection.execute(select(event.c.id).where(*mine_alone)).scalars().all()
    )
    return connection.execute(delete(event).where(*mine_alone)).rowcount


class Folder:
    """The archive's files. Methods block: call them in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place(self) -> str:
        """The name of this folder among those of other replicas, stored in the folder."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = self.path / ".place"
        try:
            with file.open("x", encoding="ascii") as made:
                made.write(str(uuid_utils.uuid7()))
                _sync(made.fileno())
            _sync_folder(self.path)
        except FileExistsError:
            pass
        return file.read_text(encoding="ascii")

    @contextmanager
    def held(self) -> Iterator[str]:
        """Locks the folder against other processes; yields its name.

        Raises:
            BlockingIOError: another process has locked it.
        """
        place = self.place()
        with (self.path / ".place").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield place

    def begin(self, day: str) -> Note:
        """The note to store before :meth:`append`."""
        file = self.path / f"{day}.jsonl.gz"
        size = file.stat().st_size if file.exists() else 0
        return Note(str(uuid_utils.uuid7()), file.name, size)

    def append(self, made: Note, portion: Portion) -> None:
        """Appends the messages as one gzip member; returns when they are on disk."""
        # As text where SQLite stores what no JSON can hold.
        lines = b"".join(orjson.dumps(record(life), default=str) + b"\n" for life in portion.lives)
        # Readable by the owner only, from the first byte on: it holds messages.
        handle = os.open(self.path / made.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            _write(handle, gzip.compress(lines))
            _sync(handle)
        except OSError:
            # For example a full disk: the archive must stay readable.
            os.ftruncate(handle, made.size_before)
            raise
        finally:
            os.close(handle)
        _sync_folder(self.path)

    def undo(self, file: str, size: int) -> None:
        """Cuts a file back to its size before an unfinished portion."""
        path = self.path / Path(file).name
        if not path.exists() or path.stat().st_size <= size:
            return
        with path.open("r+b") as torn:
            torn.truncate(size)
            _sync(torn.fileno())


def _write(handle: int, packed: bytes) -> None:
    rest = memoryview(packed)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _sync(handle: int) -> None:
    os.fsync(handle)


def _sync_folder(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def record(life: MessageTimeline) -> dict[str, Any]:
    """A message with all rows that are deleted with it."""
    return {
        "message": _plain(life.message),
        "attempts": [_plain(one) for one in life.attempts],
        "changes": [_plain(one) for one in life.changes],
    }


def _plain(row: Any) -> dict[str, Any]:
    # SQLAlchemy's column names are a subclass of str, which orjson refuses as keys.
    return {str(name): value for name, value in row.items()}
