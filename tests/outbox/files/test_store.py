"""The store of files, on both databases."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import Connection, func, select

from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox.files import attached, store
from services.outbox.files.store import CHUNK, FileGoneError, FileStore
from services.outbox.files.tables import event_file, file, file_chunk
from services.outbox.intake import enqueue
from services.outbox.messages import EventFile, EventRecord, MediaKind
from tests.outbox.conftest import Desk
from tests.outbox.making import event, submission
from tests.servers import ManualClock


@pytest.fixture
def files(database: Database, clock: ManualClock) -> FileStore:
    return FileStore(database, clock, max_bytes=4 * CHUNK, max_total_bytes=6 * CHUNK)


async def pieces(content: bytes, size: int = 70_000) -> AsyncIterator[bytes]:
    for at in range(0, len(content), size):
        yield content[at : at + size]


async def read(files: FileStore, file_id: str) -> bytes:
    return b"".join([chunk async for chunk in files.read(file_id)])


async def rows(database: Database) -> tuple[int, int]:
    """The numbers of files and chunks."""
    counts = [select(func.count()).select_from(table) for table in (file, file_chunk)]
    found = await database.read("read", lambda c: [c.execute(count).scalar_one() for count in counts])
    return found[0], found[1]


async def sweep(database: Database, before: float) -> int:
    return await database.write("sweep", partial(store.sweep, before=before))


CONTENT = bytes(range(256)) * 10_000


async def test_a_file_is_read_as_it_was_written(files: FileStore, database: Database) -> None:
    stored = await files.write(pieces(CONTENT))
    assert (stored.size, stored.sha256) == (len(CONTENT), hashlib.sha256(CONTENT).hexdigest())
    assert await read(files, stored.id) == CONTENT
    assert await rows(database) == (1, -(-len(CONTENT) // CHUNK))
    assert (await files.find([stored.id]))[stored.id] == stored


async def test_the_same_content_is_stored_once(files: FileStore, database: Database) -> None:
    first = await files.write(pieces(CONTENT))
    again = await files.write(pieces(CONTENT, 999))
    assert again == first
    assert await rows(database) == (1, 3)


async def test_the_same_content_at_the_same_time_is_stored_once(files: FileStore, database: Database) -> None:
    small = CONTENT[:1_000]
    stored = await asyncio.gather(*(files.write(pieces(small)) for _ in range(8)))
    assert len({one.id for one in stored}) == 1
    assert await rows(database) == (1, 1)
    assert await read(files, stored[0].id) == small


async def test_a_file_over_the_limit_leaves_nothing(files: FileStore, database: Database) -> None:
    with pytest.raises(Problem) as refused:
        await files.write(pieces(bytes(4 * CHUNK + 1)))
    assert refused.value.status == 413
    assert "MAX_FILE_BYTES" in refused.value.detail
    assert await rows(database) == (0, 0)


async def test_a_full_store_says_so_and_takes_files_again_after_the_sweep(
    files: FileStore, database: Database, clock: ManualClock
) -> None:
    await files.write(pieces(b"a" * 4 * CHUNK))
    with pytest.raises(Problem) as refused:
        await files.write(pieces(b"b" * 3 * CHUNK))
    assert refused.value.status == 507
    assert "FILES_MAX_TOTAL_BYTES" in refused.value.detail
    assert await rows(database) == (1, 4)
    clock.advance(3_601)
    assert await sweep(database, clock.now - 3_600) == 1
    assert (await files.write(pieces(b"b" * 3 * CHUNK))).size == 3 * CHUNK


async def test_an_empty_file_is_refused(files: FileStore, database: Database) -> None:
    with pytest.raises(Problem) as refused:
        await files.write(pieces(b""))
    assert refused.value.status == 422
    assert await rows(database) == (0, 0)


async def test_an_upload_that_breaks_off_leaves_nothing(files: FileStore, database: Database) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(CHUNK + 5)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await files.write(broken())
    assert await rows(database) == (0, 0)


async def test_an_unfinished_upload_is_not_found_and_is_swept(
    files: FileStore, database: Database, clock: ManualClock
) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(CHUNK)
        begun.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(files.write(endless()))
    await begun.wait()
    (file_id,) = await database.read("read", lambda c: c.execute(select(file.c.id)).scalars().all())
    assert await files.find([file_id]) == {}
    with pytest.raises(FileGoneError):
        await read(files, file_id)
    # As when the process is killed: the upload cannot clean up.
    upload.cancel()
    await asyncio.gather(upload, return_exceptions=True)
    assert await rows(database) == (1, 1)
    clock.advance(3_601)
    assert await sweep(database, clock.now - 3_600) == 1
    assert await rows(database) == (0, 0)


async def test_a_file_stays_as_long_as_an_event_names_it(
    files: FileStore, desk: Desk, clock: ManualClock
) -> None:
    kept, unused = await files.write(pieces(b"kept")), await files.write(pieces(b"unused"))
    shown = EventFile(MediaKind.DOCUMENT, "kept.txt", kept.id, caption="Look", spoiler=True)
    of = event(files=(shown,))
    clock.advance(3_000)
    assert await desk.database.write("enqueue", partial(_held, of=of, now=clock.now)) == [None]
    clock.advance(10_000)
    assert await sweep(desk.database, clock.now - 3_600) == 1
    assert set(await files.find([kept.id, unused.id])) == {kept.id}
    (claimed,) = await desk.claim()
    (one,) = claimed.files
    assert (one.file_id, one.size, one.media_type) == (kept.id, 4, "text/plain")
    assert (one.filename, one.caption, one.spoiler, one.failure) == ("kept.txt", "Look", True, None)
    await desk.database.write("sweep", partial(attached.delete_of_events, event_ids=[of.id]))
    assert await sweep(desk.database, clock.now - 3_600) == 1
    assert await rows(desk.database) == (0, 0)


def _held(connection: Connection, of: EventRecord, now: float) -> list[Problem | None]:
    sent = submission(of=of)
    problems = attached.hold(connection, [sent], now)
    enqueue.insert(connection, [sent], now)
    return problems


async def test_an_event_with_a_swept_file_is_refused_and_its_group_is_stored(desk: Desk) -> None:
    gone = event(files=(EventFile(MediaKind.DOCUMENT, "a.txt", "no-such-file"),))
    results = await enqueue.store(
        desk.database, [submission(of=event("one")), submission(of=gone), submission()], desk.clock.now
    )
    assert [type(result) for result in results] == [type(None), Problem, type(None)]
    assert isinstance(results[1], Problem)
    assert "no-such-file" in str(results[1].errors)
    assert len(await desk.claim()) == 1
    assert await desk.database.read("read", lambda c: c.execute(select(event_file)).all()) == []


async def test_events_without_files_have_none(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    assert claimed.files == ()
