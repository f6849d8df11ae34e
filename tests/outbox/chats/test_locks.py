"""Who ends waiting messages and who claims them never wait for each other crosswise; on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

import asyncpg
import pytest
from sqlalchemy import Connection

from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import settlement
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import MessageRecord
from tests.outbox.making import ADA, GRACE, NOW, message, submission
from tests.servers import Postgres, until

CHATS = (GRACE, ADA)
Ending = Callable[..., None]


def cancel(connection: Connection, waiting: list[MessageRecord]) -> None:
    cancel_replay.cancel(connection, waiting[0].id, By("ci"), NOW)


def cancel_all(connection: Connection, waiting: list[MessageRecord]) -> None:
    cancel_replay.cancel_all(connection, [one.id for one in waiting], "not needed any more", NOW)


def supersede(connection: Connection, waiting: list[MessageRecord]) -> None:
    newer = [message(one.chat_id, update_key=one.update_key) for one in waiting]
    enqueue.insert(connection, [submission(*newer)], NOW)


@pytest.fixture
async def database(postgres: Postgres, telemetry: Telemetry) -> AsyncIterator[Database]:
    with postgres.database() as url:
        opened = await open_database(url, telemetry, packages=["services.outbox"])
        yield opened
        await opened.close()


@pytest.fixture
async def claiming(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that has the chats of a claim, and not yet its messages."""
    _, _, place = database.address.partition(":")
    connection = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{place}")
    yield connection
    await connection.close()


@pytest.mark.parametrize("end", [cancel, cancel_all, supersede])
async def test_who_ends_a_message_takes_its_chat_first(
    database: Database, claiming: asyncpg.Connection, end: Ending
) -> None:
    # The first of a key is what later ones edit; the waiting edit is what the next one ends.
    waiting = [message(chat_id, update_key="deploy") for chat_id in CHATS]
    for one in ([message(chat_id, update_key="deploy") for chat_id in CHATS], waiting):
        await database.write("add", partial(enqueue.insert, submissions=[submission(*one)], now=NOW))
    async with claiming.transaction():
        await claiming.execute("SELECT 1 FROM chat FOR UPDATE")
        ending = asyncio.create_task(database.write("end", partial(end, waiting=waiting)))
        await until(partial(_somebody_waits, claiming))
        # Not to be waited for: PostgreSQL would give the other one up, and its work be tried again.
        await claiming.execute("SELECT 1 FROM message FOR UPDATE NOWAIT")
    await ending


async def test_who_sets_times_right_takes_the_chats_first(
    database: Database, claiming: asyncpg.Connection
) -> None:
    waiting = submission(*(message(chat_id) for chat_id in CHATS))
    await database.write("add", partial(enqueue.insert, submissions=[waiting], now=NOW))
    await claiming.execute("UPDATE message SET state = 'retry_wait', due_at = $1", NOW + 3_600)
    await claiming.execute("UPDATE chat SET next_at = $1", NOW + 3_600)
    async with claiming.transaction():
        await claiming.execute("SELECT 1 FROM chat WHERE chat_id = $1 FOR UPDATE", ADA)
        right = partial(settlement.clock_set_back, now=NOW, longest_wait=60)
        setting = asyncio.create_task(database.write("take_over", right))
        await until(partial(_somebody_waits, claiming))
        await claiming.execute("SELECT 1 FROM chat WHERE chat_id = $1 FOR UPDATE NOWAIT", GRACE)
        await claiming.execute("SELECT 1 FROM message FOR UPDATE NOWAIT")
    await setting


async def _somebody_waits(connection: asyncpg.Connection) -> bool:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return bool(await connection.fetchval(query))


async def test_two_that_take_several_chats_take_them_in_one_order(
    database: Database, claiming: asyncpg.Connection
) -> None:
    waiting = [message(chat_id) for chat_id in CHATS]
    await database.write("add", partial(enqueue.insert, submissions=[submission(*waiting)], now=NOW))
    async with claiming.transaction():
        await claiming.execute("SELECT 1 FROM chat WHERE chat_id = $1 FOR UPDATE", ADA)
        ending = asyncio.create_task(database.write("end", partial(cancel_all, waiting=waiting)))
        await until(partial(_somebody_waits, claiming))
        await claiming.execute("SELECT 1 FROM chat WHERE chat_id = $1 FOR UPDATE NOWAIT", GRACE)
    await ending
    assert ADA < GRACE
