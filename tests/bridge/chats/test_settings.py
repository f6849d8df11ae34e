"""Settings of chats over REST: replaced, changed field by field, and listed."""

import asyncio
from functools import partial
from typing import Any

import httpx
import orjson
import pytest

from services.bridge import app as bridge_app
from services.bridge.chats import api
from services.kit.database.connect import open_database
from services.kit.telemetry.telemetry import Telemetry
from tests import servers
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite

QUIET: dict[str, Any] = {"from": "22:00", "to": "07:00", "days": ["fri", "sat"], "action": "silent"}
WHOLE: dict[str, Any] = {"name": "Ada", "time_zone": "Europe/Berlin", "quiet_hours": QUIET}
NOTHING: dict[str, Any] = {"name": "", "time_zone": "UTC", "quiet_hours": None}


async def settings(bridge: httpx.AsyncClient, chat_id: int = 1001) -> dict[str, Any]:
    read = (await bridge.get(f"/api/v1/chats/{chat_id}")).json()
    return {name: read[name] for name in WHOLE}


async def patch(bridge: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    answer = await bridge.patch("/api/v1/chats/1001", json=changes)
    assert answer.status_code == 200, answer.text
    assert await settings(bridge) == {name: answer.json()[name] for name in WHOLE}
    return await settings(bridge)


async def test_a_patch_changes_the_given_fields_and_keeps_the_others(bridge: httpx.AsyncClient) -> None:
    await bridge.put("/api/v1/chats/1001", json=WHOLE)
    assert await patch(bridge, quiet_hours=None) == WHOLE | {"quiet_hours": None}
    assert await patch(bridge, name="Ada Lovelace") == WHOLE | {"quiet_hours": None, "name": "Ada Lovelace"}
    assert await patch(bridge, quiet_hours=QUIET, name="Ada") == WHOLE
    assert await patch(bridge) == WHOLE


async def test_null_sets_a_field_to_its_default(bridge: httpx.AsyncClient) -> None:
    await bridge.put("/api/v1/chats/1001", json=WHOLE)
    assert await patch(bridge, name=None, time_zone=None) == WHOLE | {"name": "", "time_zone": "UTC"}


async def test_a_patch_makes_a_chat_known(bridge: httpx.AsyncClient) -> None:
    assert await patch(bridge, name="Ada") == NOTHING | {"name": "Ada"}


async def test_a_put_replaces_all_settings(bridge: httpx.AsyncClient) -> None:
    await bridge.put("/api/v1/chats/1001", json=WHOLE)
    await bridge.put("/api/v1/chats/1001", json={"name": "Ada"})
    assert await settings(bridge) == NOTHING | {"name": "Ada"}


async def test_two_patches_at_once_are_both_kept(bridge: httpx.AsyncClient) -> None:
    for changes in ({"name": "Ada"}, {"name": "Grace"}):
        await asyncio.gather(patch_only(bridge, changes), patch_only(bridge, {"time_zone": "Europe/Berlin"}))
        assert await settings(bridge) == NOTHING | changes | {"time_zone": "Europe/Berlin"}
        await bridge.put("/api/v1/chats/1001", json={})


async def patch_only(bridge: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    assert (await bridge.patch("/api/v1/chats/1001", json=changes)).status_code == 200


@on_sqlite
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        *(
            ({"time_zone": zone}, "time_zone")
            for zone in ("localtime", "posixrules", "Factory", "posix/UTC", "right/UTC", "Mars/Olympus", "")
        ),
        ({"time_zone": 5}, "time_zone"),
        ({"name": "a\0b"}, "name"),
        ({"name": "x" * 129}, "name"),
        ({"quiet_hours": {"from": "22:00"}}, "quiet_hours"),
        ({"nam": "Ada"}, "nam"),
    ],
)
async def test_a_wrong_setting_is_named_and_changes_nothing(
    bridge: httpx.AsyncClient, method: str, body: dict[str, Any], field: str
) -> None:
    answer = await bridge.request(method, "/api/v1/chats/1001", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["loc"][:2]) == (422, ["body", field])
    assert (await bridge.get("/api/v1/chats/1001")).status_code == 404


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "EST5EDT", "US/Eastern", "Asia/Kathmandu"])
async def test_every_name_of_the_iana_database_is_a_zone(bridge: httpx.AsyncClient, zone: str) -> None:
    assert await patch(bridge, time_zone=zone) == NOTHING | {"time_zone": zone}


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize(
    ("path", "place"), [("0", ["path", "chat_id"]), ("1001?bot=nobody", ["query", "bot"])]
)
async def test_a_chat_or_bot_that_does_not_exist_is_named(
    bridge: httpx.AsyncClient, method: str, path: str, place: list[str]
) -> None:
    answer = await bridge.request(method, f"/api/v1/chats/{path}", json={"name": "x"})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, place)


async def test_chats_are_listed_by_their_ids_in_pages(bridge: httpx.AsyncClient) -> None:
    ids = [-1_001_000_000_001, -2001, 1001, 1002, 1003]
    for chat_id in reversed(ids):
        await bridge.put(f"/api/v1/chats/{chat_id}", json={"name": f"chat {chat_id}"})
    found: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        wanted = {"limit": 2} | ({} if cursor is None else {"cursor": cursor})
        page = (await bridge.get("/api/v1/chats", params=wanted)).json()
        found += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [one["chat_id"] for one in found] == ids
    for one in found:
        assert one["name"] == f"chat {one['chat_id']}"
        assert one == (await bridge.get(f"/api/v1/chats/{one['chat_id']}")).json()


async def test_a_chat_that_got_a_message_is_listed(bridge: httpx.AsyncClient) -> None:
    await bridge.post("/events", json={"type": "custom_event", "title": "hello", "chat_id": 1002})
    (only,) = (await bridge.get("/api/v1/chats")).json()["items"]
    assert (only["chat_id"], only["bot"]) == (1002, "default")
    assert {name: only[name] for name in NOTHING} == NOTHING
    assert (await bridge.get("/api/v1/chats", params={"bot": "other"})).json()["items"] == []


async def test_a_zone_that_an_earlier_version_accepted_can_be_read_and_changed(
    bridge_settings: BridgeFactory, database_url: str, telemetry: Telemetry
) -> None:
    database = await open_database(database_url, telemetry, packages=bridge_app.PACKAGES)
    stored = orjson.dumps(WHOLE | {"time_zone": "Gone/Zone"}).decode()
    work = partial(api.store_settings, bot="default", chat_id=1001, settings=stored, now=1e9)
    await database.write("chat_write", work)
    await database.close()
    made = bridge_settings(database_url=database_url)
    async with servers.client_of(bridge_app.create_app, made) as bridge:
        assert (await settings(bridge))["time_zone"] == "Gone/Zone"
        assert len((await bridge.get("/api/v1/chats")).json()["items"]) == 1
        assert (await patch(bridge, name="Grace"))["quiet_hours"]["from"] == "22:00"
        posted = await bridge.post("/events", json={"type": "custom_event", "title": "hello"})

        async def delivered() -> bool:
            path = f"/api/v1/messages/{posted.json()['message_ids'][0]}"
            message = (await bridge.get(path)).json()
            return message["status"] == "delivered" or message["quiet_until"] is not None

        await servers.until(delivered)
