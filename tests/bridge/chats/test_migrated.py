"""A group that became a supergroup: its old id leads to the settings and messages of the new one."""

import asyncio
import threading
from functools import partial
from typing import Any

import orjson
import pytest
from sqlalchemy import Connection, insert, select, text

from services.bridge.chats.api import store_settings
from services.contracts.chats import ChatSettings
from services.kit.database.connect import Database
from services.outbox.chats import chat_state, locks
from services.outbox.schema import chat
from tests.bridge.people import TEAM, Bridge
from tests.outbox.plans import plan_of
from tests.servers import Sandbox

SUPERGROUP = -1_000_000_002_001


async def migrated(bridge: Bridge, sandbox: Sandbox) -> tuple[str, str]:
    """Posts a message before and one after the change; returns their ids."""
    before = (await bridge.post(chat_id=TEAM, title="before"))["message_ids"][0]
    await bridge.until_message(before, "delivered")
    await sandbox.post(f"/chats/{TEAM}/upgrade", {"new_id": SUPERGROUP}, method="PUT")
    after = (await bridge.post(chat_id=TEAM, title="after"))["message_ids"][0]
    await bridge.until_message(after, "delivered")
    return before, after


async def change(bridge: Bridge, method: str, chat_id: int, **settings: Any) -> dict[str, Any]:
    answer = await bridge.client.request(method, f"/api/v1/chats/{chat_id}", json=settings)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def read(bridge: Bridge, path: str) -> Any:
    answer = await bridge.client.get(f"/api/v1/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def found(bridge: Bridge, chat_id: int, path: str = "messages") -> list[str]:
    return [one["id"] for one in (await read(bridge, f"{path}?chat_id={chat_id}"))["items"]]


HOURS = {"from": "22:00", "to": "07:00", "days": ["fri"], "action": "silent"}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_settings_by_the_old_id_are_those_of_the_supergroup(
    talk: Bridge, sandbox: Sandbox, method: str
) -> None:
    await change(talk, "PUT", TEAM, name="Team", time_zone="Europe/Berlin")
    await migrated(talk, sandbox)
    assert (await read(talk, f"chats/{SUPERGROUP}"))["name"] == "Team"
    answered = await change(talk, method, TEAM, name="Operations", quiet_hours=HOURS)
    assert (answered["chat_id"], answered["migrated_to"]) == (TEAM, SUPERGROUP)
    new = await read(talk, f"chats/{SUPERGROUP}")
    assert (new["name"], new["quiet_hours"], new["migrated_to"]) == ("Operations", HOURS, None)
    # Changed where it is not named only by PUT.
    assert new["time_zone"] == {"PUT": "UTC", "PATCH": "Europe/Berlin"}[method]
    assert answered == new | {"chat_id": TEAM, "migrated_to": SUPERGROUP}
    assert await read(talk, f"chats/{TEAM}") == answered
    listed = {one["chat_id"]: one for one in (await read(talk, "chats"))["items"]}
    assert (listed[TEAM], listed[SUPERGROUP]) == (answered, new)


async def test_a_change_of_settings_waits_for_a_migration_and_then_changes_the_supergroup(
    database: Database,
) -> None:
    """On PostgreSQL the change begins while the migration has not committed; SQLite has one writer."""
    settings = ChatSettings(name="Operations").model_dump_json(by_alias=True)
    rows = [
        {"bot": "default", "chat_id": TEAM, "settings": '{"name":"Team"}'},
        {"bot": "default", "chat_id": SUPERGROUP, "settings": None},
    ]
    await database.write("f", lambda c: c.execute(insert(chat), rows))
    begun = threading.Event()

    def migrate(connection: Connection) -> None:
        locks.lock_chats(connection, [("default", TEAM)])
        begun.set()
        if connection.dialect.name == "postgresql":
            while not connection.execute(text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar():
                pass
        chat_state.migrate(connection, "default", TEAM, SUPERGROUP, 1.0)

    def put(connection: Connection) -> None:
        store_settings(connection, "default", TEAM, settings, 1.0)

    async def after_it_began() -> None:
        await asyncio.to_thread(begun.wait, 30)
        await database.write("put", put)

    async with asyncio.timeout(60):
        await asyncio.gather(database.write("migrate", migrate), after_it_began())
    stored = select(chat.c.settings).where(chat.c.chat_id == SUPERGROUP)
    assert await database.read("r", lambda c: c.execute(stored).scalar_one()) == settings


@pytest.mark.parametrize("chat_id", [TEAM, SUPERGROUP])
async def test_a_search_for_either_id_finds_the_messages_of_both(
    talk: Bridge, sandbox: Sandbox, chat_id: int
) -> None:
    before, after = await migrated(talk, sandbox)
    assert await found(talk, chat_id) == [after, before]
    page = await read(talk, f"messages?chat_id={chat_id}&limit=1")
    assert [one["id"] for one in page["items"]] == [after]
    rest = await read(talk, f"messages?chat_id={chat_id}&limit=1&cursor={page['next_cursor']}")
    assert [one["id"] for one in rest["items"]] == [before]


async def test_dead_letters_of_the_supergroup_are_listed_and_replayed_by_the_old_id(
    talk: Bridge, sandbox: Sandbox
) -> None:
    await migrated(talk, sandbox)
    await sandbox.faults({"kind": "answer", "status": 400, "description": "Bad Request: chat not found"})
    dead = (await talk.post(chat_id=TEAM, title="dead"))["message_ids"][0]
    await talk.until_message(dead, "dead_letter")
    assert await found(talk, TEAM, "dead-letters") == [dead]
    answer = await talk.client.post("/api/v1/dead-letters/replay", json={"chat_id": TEAM})
    assert answer.json()["progress"]["total"] == 1
    await talk.until_message(dead, "delivered")


async def test_a_stream_of_the_old_id_has_the_changes_of_the_supergroup(
    talk: Bridge, sandbox: Sandbox
) -> None:
    await migrated(talk, sandbox)
    query: dict[str, str | int] = {"chat_id": TEAM, "status": "delivered"}
    async with talk.client.stream("GET", "/api/v1/stream", params=query) as response:
        lines = response.aiter_lines()
        while "event: ready" not in await anext(lines):
            pass
        posted = (await talk.post(chat_id=TEAM, title="streamed"))["message_ids"][0]
        while posted not in (line := await anext(lines)):
            pass
    assert orjson.loads(line.removeprefix("data: "))["chat_id"] == SUPERGROUP


@pytest.mark.parametrize(
    ("chain", "newer", "current"),
    [
        ({}, [], -1),
        ({-1: -2}, [-2], -2),
        ({-1: -2, -2: -3}, [-2, -3], -3),
        ({-1: -1}, [], -1),
        ({-n: -n - 1 for n in range(1, 99)}, [-2, -3, -4, -5], -5),
    ],
    ids=["none", "one", "two", "itself", "endless"],
)
async def test_the_ids_of_a_chat_are_followed_and_end(
    database: Database, chain: dict[int, int], newer: list[int], current: int
) -> None:
    await store(database, chain)
    for bot in ("default", None):
        assert await database.read("r", partial(chat_state.ids_of, chat_id=-1, bot=bot)) == [-1, *newer]
        for last in newer:
            ids = await database.read("r", partial(chat_state.ids_of, chat_id=last, bot=bot))
            assert ids[0] == -1
    assert await database.read("r", lambda c: chat_state.current_id(c, "default", -1)) == current
    assert await database.write("w", lambda c: chat_state.lock_current(c, "default", -1)) == current
    assert await database.read("r", lambda c: chat_state.ids_of(c, -1, "other")) == [-1]


async def test_the_ids_of_chats_that_lead_to_each_other_end(database: Database) -> None:
    await store(database, {-1: -2, -2: -1})
    assert sorted(await database.read("r", lambda c: chat_state.ids_of(c, -1, "default"))) == [-2, -1]
    assert await database.write("w", lambda c: chat_state.lock_current(c, "default", -1)) in {-1, -2}


async def store(database: Database, chain: dict[int, int]) -> None:
    rows = [{"bot": "default", "chat_id": old, "migrated_to": new} for old, new in chain.items()]

    def write(connection: Connection) -> None:
        if rows:
            connection.execute(insert(chat), rows)

    await database.write("f", write)


async def test_the_ids_of_a_chat_are_found_by_indexes(database: Database) -> None:
    rows = [
        {"bot": "default", "chat_id": -n, "migrated_to": None if n % 100 else -n - 10**6} for n in range(500)
    ]
    await database.write("f", lambda c: c.execute(insert(chat), rows))
    found = partial(chat_state.ids_of, chat_id=-100)
    plan = await database.write("plan", lambda c: plan_of(c, found))
    for index in ("chat_migrated", "chat_migrated_to"):
        assert f"{index} " in plan
    assert await database.read("r", found) == [-100, -1_000_100]
