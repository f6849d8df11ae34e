"""The feed: every change, once, in the order of the commits, on both databases."""

import asyncio
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.database.connect import Database
from services.outbox import change_feed
from services.outbox.change_feed import Change, Position
from services.outbox.intake import enqueue
from services.outbox.messages import Outcome, Reason
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, each, message, result, sent, submission


async def read(database: Database, after: Position | None = None) -> list[Change]:
    changes, _ = await database.read("feed", partial(change_feed.read, after=after or Position()))
    return changes


def told(changes: list[Change]) -> list[tuple[str, int, str]]:
    return [(change.state, change.attempt, change.cause) for change in changes]


@given(st.integers(0, 2**50), st.integers(0, 2**50), st.integers(0, 10_000))
def test_a_position_is_read_as_it_was_written(tx: int, row: int, number: int) -> None:
    position = Position(tx, row, number)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "written", ["", "1", "1.2", "1.2.3.4", "a.b.c", "-1.2.3", "1.2.³", "1.2." + "9" * 30]
)
def test_what_is_no_position_is_none(written: str) -> None:
    assert Position.parse(written) is None


@given(st.text())
def test_any_text_is_a_position_or_none(written: str) -> None:
    position = Position.parse(written)
    assert position is None or Position.parse(str(position)) == position


async def test_a_life_is_told_from_beginning_to_end(desk: Desk) -> None:
    await desk.submit(submission())
    (first,) = await desk.claim()
    await desk.finish(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    desk.clock.advance(5)
    (second,) = await desk.claim()
    await desk.finish(second, sent())
    assert told(await read(desk.database)) == [
        ("queued", 0, ""),
        ("sending", 1, ""),
        ("retry_wait", 1, "connect_failed"),
        ("sending", 2, ""),
        ("delivered", 2, ""),
    ]


async def test_a_transaction_is_one_row_whatever_it_changes(desk: Desk) -> None:
    await desk.submit(each(["a", "b", "c"]), each(["d"], GRACE))
    await desk.claim()

    def count(connection: Connection) -> int:
        return int(connection.execute(text("SELECT count(*) FROM feed")).scalar_one())

    assert await desk.database.read("feed", count) == 2
    assert len(await read(desk.database)) == 6


async def test_a_reader_goes_on_in_the_middle_of_a_row(desk: Desk) -> None:
    await desk.submit(each(["a", "b", "c"]))
    whole = await read(desk.database)
    for number, change in enumerate(whole):
        rest = await read(desk.database, change.position)
        assert [c.message["title"] for c in rest] == ["a", "b", "c"][number + 1 :]


async def test_what_expires_or_is_suppressed_is_told_too(desk: Desk) -> None:
    await desk.submit(submission(message(ADA, expires_at=NOW + 1)))
    desk.clock.advance(2)
    await desk.claim()
    assert told(await read(desk.database))[-1] == ("expired", 0, "expired")


async def test_the_end_is_where_news_will_come_after(desk: Desk) -> None:
    assert await desk.database.read("feed", change_feed.end) == Position()
    await desk.submit(submission())
    end = await desk.database.read("feed", change_feed.end)
    assert await read(desk.database, end) == []
    await desk.claim()
    assert told(await read(desk.database, end)) == [("sending", 1, "")]


async def test_an_archived_message_is_passed_over_and_the_position_moves_on(desk: Desk) -> None:
    await desk.submit(submission())
    end = await desk.database.read("feed", change_feed.end)

    def forget(connection: Connection) -> None:
        connection.execute(text("DELETE FROM message"))

    await desk.database.write("feed", forget)
    changes, position = await desk.database.read("feed", partial(change_feed.read, after=Position()))
    assert (changes, position) == ([], end)


async def test_old_rows_go_and_the_last_one_stays_as_the_end(desk: Desk) -> None:
    for _ in range(3):
        await desk.submit(submission())
    end = await desk.database.read("feed", change_feed.end)
    gone = await desk.database.write("feed", partial(change_feed.prune, before=NOW + 1))
    assert gone == 2
    assert await desk.database.read("feed", change_feed.end) == end


async def test_a_reader_is_told_when_what_it_wants_is_gone(desk: Desk) -> None:
    await desk.submit(submission())
    first = (await read(desk.database))[0].position
    assert await desk.database.read("feed", partial(change_feed.covers, position=Position()))
    await desk.submit(submission())
    await desk.submit(submission())
    await desk.database.write("feed", partial(change_feed.prune, before=NOW + 1))
    assert not await desk.database.read("feed", partial(change_feed.covers, position=first))
    end = await desk.database.read("feed", change_feed.end)
    assert await desk.database.read("feed", partial(change_feed.covers, position=end))


async def test_numbers_are_not_given_again_when_all_is_gone(desk: Desk) -> None:
    await desk.submit(submission())
    end = await desk.database.read("feed", change_feed.end)

    def forget(connection: Connection) -> None:
        connection.execute(text("DELETE FROM feed"))

    await desk.database.write("feed", forget)
    await desk.submit(submission())
    assert [change.position > end for change in await read(desk.database, end)] == [True]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_what_commits_late_is_not_passed_over(database_url: str, desk: Desk) -> None:
    """A transaction that began first and commits last: its lower number must not be lost."""
    began, may_commit = asyncio.Event(), asyncio.Event()
    slow = await open_slow(database_url, began, may_commit)
    await began.wait()
    await desk.submit(submission())
    assert await read(desk.database) == []
    may_commit.set()
    await slow
    changes = await read(desk.database)
    assert [change.message["chat_id"] for change in changes] == [GRACE, ADA]


async def open_slow(url: str, began: asyncio.Event, may_commit: asyncio.Event) -> "asyncio.Task[None]":
    """A transaction of another connection that writes at once and commits when it may."""

    async def run() -> None:
        engine = create_async_engine(url_of(url))
        async with engine.begin() as connection:
            store = partial(enqueue.insert, submissions=[submission(message(GRACE))], now=NOW)
            await connection.run_sync(store)
            began.set()
            await may_commit.wait()
        await engine.dispose()

    return asyncio.create_task(run())


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_an_effect_comes_after_its_cause(database_url: str, desk: Desk) -> None:
    """A worker settles, another process commits a message meanwhile, and the worker claims that one."""
    engine = create_async_engine(url_of(database_url))
    async with engine.begin() as worker:
        await worker.execute(text("SELECT pg_current_xact_id()"))
        stored = submission()
        await desk.submit(stored)
        claimed = [(stored.messages[0][0].id, "sending", 1, "")]
        await worker.run_sync(partial(change_feed.write, entries=claimed, now=NOW))
    await engine.dispose()
    assert [change.state for change in await read(desk.database)] == ["queued", "sending"]


def url_of(url: str) -> str:
    return url.replace("postgresql://", "postgresql+asyncpg://")


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_after_a_restore_into_another_cluster_the_feed_goes_on(database_url: str, desk: Desk) -> None:
    await desk.submit(submission())

    def restored(connection: Connection) -> None:
        connection.execute(text("UPDATE feed SET tx = tx + 1000000000"))

    await desk.database.write("feed", restored)
    kept = Position(10**12, 1, 1)
    await desk.database.write("feed", change_feed.repair_after_restore)
    await desk.submit(submission(message(GRACE)))
    assert [change.message["chat_id"] for change in await read(desk.database)] == [ADA, GRACE]
    assert [change.message["chat_id"] for change in await read(desk.database, kept)] == [GRACE]
