"""The migration that mends odd values, which earlier versions stored of unchecked answers."""

import time
from typing import Any

import pytest
from sqlalchemy import Connection, bindparam, column, insert, inspect, table, text

from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake import row_records
from tests.outbox.conftest import Desk, migrated_to
from tests.outbox.making import NOW, event, message, sent
from tests.servers import ManualClock

YEAR_33715 = 1_001_796_042_004.0
DAY = 86_400.0


def add(connection: Connection, name: str, row: dict[str, Any]) -> None:
    """Inserts a row; leaves out the columns that the table has not got yet."""
    there = {one["name"] for one in inspect(connection).get_columns(name)}
    values = {key: value for key, value in row.items() if key in there}
    statement = insert(table(name, *map(column, values)))
    # Bound without a type: SQLite takes any value in any column.
    connection.execute(statement.values(**{key: bindparam(key) for key in values}), values)


def queued(connection: Connection, title: str, chat_id: Any, **more: Any) -> None:
    of = event(title)
    row = row_records.of_message(of, message()) | {"chat_id": chat_id, "telegram_message_ids": ""}
    row |= dict.fromkeys(("attempts", "part", "retries", "resends"), 0)
    row |= {"possible_duplicate": False, "plain": False, "reason": "none", "held": False}
    add(connection, "event", row_records.of_event(of, NOW))
    add(connection, "message", row | more)


def known(connection: Connection, chat_id: Any, **more: Any) -> None:
    row = {"bot": "default", "chat_id": chat_id, "lane": 1, "client": "", "next_at": 1.0}
    row |= dict.fromkeys(("lease_until", "tokens", "group_tokens", "sent_at", "open_at"), 0.0)
    add(connection, "chat", row | more)


async def read(desk: Desk, query: str) -> list[tuple[Any, ...]]:
    return await desk.database.read("read", lambda c: [tuple(row) for row in c.execute(text(query))])


@pytest.fixture
def later() -> ManualClock:
    """Later than the migration, which takes the machine's time."""
    return ManualClock(time.time() + 600)


async def test_a_wait_of_thousands_of_years_ends_now(
    empty_database_url: str, telemetry: Telemetry, later: ManualClock
) -> None:
    flooded = {"state": "retry_wait", "reason": "flood_control"}

    def store(connection: Connection) -> None:
        queued(connection, "absurd", 1, **flooded, due_at=YEAR_33715)
        known(connection, 1, open_at=YEAR_33715, next_at=YEAR_33715)
        queued(connection, "an hour", 2, **flooded, due_at=later.time() + 3_600)
        known(connection, 2, next_at=later.time() + 3_600)
        queued(connection, "next month", 3, due_at=later.time() + 30 * DAY)
        known(connection, 3, next_at=later.time() + 30 * DAY)

    database = await migrated_to("0013", empty_database_url, telemetry)
    await database.write("store", store)
    await database.migrate(["services.outbox"])
    desk = Desk(database, later)
    assert [one.title for one in await desk.claim()] == ["absurd"]
    await database.close()


async def test_chats_that_lead_to_themselves_or_to_each_other_get_their_messages(
    empty_database_url: str, telemetry: Telemetry, later: ManualClock
) -> None:
    def store(connection: Connection) -> None:
        for chat_id, migrated in ((-1, -1), (-2, -3), (-3, -2), (-4, 7), (-5, -100)):
            queued(connection, str(chat_id), chat_id)
            known(connection, chat_id, migrated_to=migrated)

    database = await migrated_to("0013", empty_database_url, telemetry)
    await database.write("store", store)
    await database.migrate(["services.outbox"])
    desk = Desk(database, later)
    delivered = []
    for number in range(3):
        for one in await desk.claim():
            await desk.finish(one, sent(number + 1))
            delivered.append(one.title)
    assert sorted(delivered) == ["-1", "-2", "-3", "-4", "-5"]
    # A supergroup is believed.
    assert await read(desk, "SELECT chat_id FROM message WHERE chat_id = -100") == [(-100,)]
    await database.close()


async def test_messages_for_a_chat_whose_id_is_a_text_are_returned_to_the_group(
    tmp_path: Any, telemetry: Telemetry, later: ManualClock
) -> None:
    """An answer's ``migrate_to_chat_id`` was "zz"; only SQLite stores it."""

    def store(connection: Connection) -> None:
        queued(connection, "moved", "zz")
        known(connection, -2, migrated_to="zz", next_at=None)
        known(connection, "zz")
        queued(connection, "of no chat", "yy")

    database = await migrated_to("0013", f"sqlite:///{tmp_path / 'old.db'}", telemetry)
    await database.write("store", store)
    await database.migrate(["services.outbox"])
    desk = Desk(database, later)
    assert [(one.title, one.chat_id) for one in await desk.claim()] == [("moved", -2)]
    assert await read(desk, "SELECT chat_id, migrated_to FROM chat") == [(-2, None)]
    lost = "SELECT state, reason FROM message WHERE chat_id = 0"
    assert await read(desk, lost) == [("dead_letter", "bad_answer")]
    await database.close()
