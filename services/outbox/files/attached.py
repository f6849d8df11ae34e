"""The files of an event: written in the event's transaction, and read with its messages."""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from services.kit.errors import Problem
from services.outbox.files.tables import event_file, file
from services.outbox.messages import EventFile, EventRecord, MediaKind, Submission

#: SQL: whether an event, in a query that has its table, has files. Most have none: one look into an index.
HAS_FILES = "EXISTS (SELECT 1 FROM event_file WHERE event_file.event_id = event.id)"


def hold(connection: Connection, submissions: Sequence[Submission], now: float) -> list[Problem | None]:
    """Keeps the files that submissions name from being swept, in the transaction that stores the events.

    Returns:
        For each submission None, or the problem that one of its files is not stored (any more).
    """
    named = [
        {one.file_id for event in s.events for one in event.files if one.file_id is not None}
        for s in submissions
    ]
    wanted = set[str]().union(*named)
    if not wanted:
        return [None] * len(submissions)
    whole = (file.c.id.in_(sorted(wanted)), file.c.sha256.is_not(None))
    touched = update(file).where(*whole).values(touched_at=now).returning(file.c.id)
    there = set(connection.execute(touched).scalars())
    return [None if ids <= there else _gone(sorted(ids - there)) for ids in named]


def _gone(ids: Sequence[str]) -> Problem:
    text = f"no file has the ID {', '.join(ids)}; upload it again with POST /api/v1/files"
    return Problem(
        422,
        "Invalid input",
        "See `errors`: one entry a field.",
        errors=[{"loc": ["attachments"], "msg": text}],
    )


def write(connection: Connection, events: Sequence[EventRecord]) -> None:
    """Writes the files of events."""
    rows = [
        {
            "event_id": event.id,
            "position": position,
            "file_id": one.file_id,
            "url": one.url,
            "kind": one.kind.value,
            "filename": one.filename,
            "caption": one.caption,
            "spoiler": one.spoiler,
        }
        for event in events
        for position, one in enumerate(event.files)
    ]
    if rows:
        connection.execute(insert(event_file), rows)


def read(connection: Connection, event_ids: Collection[str]) -> dict[str, tuple[EventFile, ...]]:
    """The files of these events, in their order, by event."""
    if not event_ids:
        return {}
    query = (
        select(event_file, file.c.size, file.c.media_type)
        .join(file, file.c.id == event_file.c.file_id, isouter=True)
        .where(event_file.c.event_id.in_(sorted(event_ids)))
        .order_by(event_file.c.event_id, event_file.c.position)
    )
    found: dict[str, tuple[EventFile, ...]] = {}
    for row in connection.execute(query):
        found[row.event_id] = (*found.get(row.event_id, ()), _of_row(row))
    return found


def _of_row(row: Any) -> EventFile:
    return EventFile(
        kind=MediaKind(row.kind),
        filename=row.filename,
        file_id=row.file_id,
        url=row.url,
        caption=row.caption,
        spoiler=bool(row.spoiler),
        size=row.size or 0,
        media_type=row.media_type or "",
        failure=row.failure,
    )


def note_fetched(connection: Connection, event_id: str, position: int, fetched: EventFile) -> None:
    """Writes that a file was fetched, or why it was not; the first note counts."""
    waits = (event_file.c.file_id.is_(None), event_file.c.failure.is_(None))
    here = (event_file.c.event_id == event_id, event_file.c.position == position)
    values = {
        "file_id": fetched.file_id,
        "kind": fetched.kind.value,
        "filename": fetched.filename,
        "failure": None if fetched.failure is None else fetched.failure.replace("\0", ""),
    }
    connection.execute(update(event_file).where(*here, *waits).values(values))


def delete_of_events(connection: Connection, event_ids: Collection[str]) -> None:
    """Deletes what events name; the files themselves are swept later."""
    connection.execute(delete(event_file).where(event_file.c.event_id.in_(sorted(event_ids))))
