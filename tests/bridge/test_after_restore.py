"""What the bridge was doing at the backup is not done a second time; on both databases."""

from collections.abc import AsyncIterator
from functools import partial

import pytest
from sqlalchemy import select

from services.bridge import after_restore
from services.bridge import app as bridge_app
from services.bridge.tracking import jobs
from services.bridge.tracking.jobs import NewJob
from services.kit.database import leader_lease
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import MessageState
from services.outbox.queries.message_search import Search
from services.updates.stored_updates import store as updates
from services.updates.stored_updates.schema import telegram_update
from services.updates.stored_updates.store import BotCall
from tests.updates.making import text

NOW = 1_000_000.0


@pytest.fixture
async def store(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    opened = await open_database(database_url, telemetry, packages=bridge_app.PACKAGES)
    yield opened
    await opened.close()


async def restored(store: Database) -> None:
    await store.write("restore", partial(after_restore.apply, now=NOW + 60))


async def test_an_update_that_was_not_handled_yet_is_not_handled(store: Database) -> None:
    add = partial(updates.add, bot="default", updates=[text(1, "yes"), text(2, "no")], now=NOW)
    await store.write("updates", add)
    first, _ = await store.read("read", partial(updates.not_handled, bot="default", limit=10))
    await store.write("updates", partial(updates.mark_handled, seq=first.seq, now=NOW))
    calls = [BotCall("answerCallbackQuery", {"callback_query_id": "7"})]
    await store.write("updates", partial(updates.add_bot_calls, seq=first.seq, calls=calls))
    await restored(store)
    assert await store.read("read", partial(updates.not_handled, bot="default", limit=10)) == []
    assert await store.read("read", partial(updates.pending_bot_calls, bot="default")) == []
    query = select(telegram_update.c.state, telegram_update.c.error)
    rows = await store.read("read", lambda connection: connection.execute(query).all())
    assert set(rows) == {("failed", "restored from a backup: it may have been done since")}


async def test_an_update_that_telegram_sends_again_is_still_known(store: Database) -> None:
    add = partial(updates.add, bot="default", updates=[text(1, "yes")], now=NOW)
    await store.write("updates", add)
    await restored(store)
    assert await store.write("updates", add) == []


async def test_a_replay_job_that_was_running_is_cancelled(store: Database) -> None:
    new = NewJob(Search(states=(MessageState.DEAD_LETTER,)), By("ada"))
    row, _ = await jobs.add(store, new, NOW)
    await restored(store)
    found = await store.read("read", partial(jobs.get, job_id=row["id"]))
    assert found is not None
    assert (found["state"], found["finished_at"]) == ("cancelled", NOW + 60)
    assert found["error"] == "restored from a backup: it may have been done since"


async def test_the_leases_of_the_old_bridge_end_and_positions_stay(store: Database) -> None:
    take = partial(leader_lease.take, name="updates:default", owner="old", now=NOW, seconds=600)
    await store.write("lead", take)
    await store.write("lead", partial(leader_lease.create, name="callbacks", position="1.2.3"))
    await restored(store)
    take = partial(leader_lease.take, name="updates:default", owner="new", now=NOW + 60, seconds=15)
    assert await store.write("lead", take)
    assert await store.read("read", partial(leader_lease.position, name="callbacks")) == "1.2.3"
