"""The migration of update keys to clients and topics: updates from before go on; on both databases."""

from dataclasses import dataclass, replace

import pytest
from sqlalchemy import Connection, column, insert, table

from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake import row_records
from tests.outbox.conftest import Desk, migrated_to
from tests.outbox.making import NOW, event, message, sent, submission
from tests.servers import ManualClock

NAN = '{"update_key":"build-7","data":{"value":NaN}}'


@dataclass(frozen=True)
class Stored:
    """The first message of a key as it was stored before: its key, its topic, and the event as posted."""

    key: str
    thread: int | None
    body: str


@pytest.mark.parametrize(
    ("stored", "key"),
    [
        (Stored("build-7", None, '{"update_key":"build-7"}'), "build-7"),
        # Of an event that went to several topics of a chat.
        (Stored("build-7/5", 5, '{"update_key":"build-7"}'), "build-7"),
        (Stored("build-7/None", None, '{"update_key":"build-7"}'), "build-7"),
        (Stored("build-7/5", 5, NAN), "build-7"),
        # With a client's own slash.
        (Stored("build/5", 5, '{"update_key":"build/5"}'), "build/5"),
        (Stored("build/5", 6, '{"update_key":"build/5"}'), "build/5"),
        (Stored("build/5", 5, "no JSON"), "build/5"),
    ],
)
async def test_an_update_edits_a_message_from_before_only_as_its_client(
    empty_database_url: str, telemetry: Telemetry, clock: ManualClock, stored: Stored, key: str
) -> None:
    database = await migrated_to("0012", empty_database_url, telemetry)
    await database.write("enqueue", lambda connection: _store(connection, stored))
    await database.migrate(["services.outbox"])
    desk = Desk(database, clock)
    for shown, client in ((501, "ci"), (None, "cd")):
        new = replace(message(), thread_id=stored.thread, update_key=key)
        await desk.submit(submission(new, of=event("50 %", client=client)))
        (claimed,) = await desk.claim()
        assert claimed.edits == shown
        await desk.finish(claimed, sent(shown or 502))
    await database.close()


def _store(connection: Connection, stored: Stored) -> None:
    of = event("10 %", client="ci", body=stored.body)
    shown = replace(message(), thread_id=stored.thread, update_key=stored.key)
    row = row_records.of_message(of, shown) | {"state": "delivered", "telegram_message_ids": "501"}
    row |= dict.fromkeys(("attempts", "part"), 1) | dict.fromkeys(("retries", "resends"), 0)
    row |= {"possible_duplicate": False, "plain": False, "reason": "none"}
    del row["update_client"], row["update_at"], row["waits_from"]
    for name, values in (("event", row_records.of_event(of, NOW)), ("message", row)):
        connection.execute(insert(table(name, *map(column, values))).values(**values))
