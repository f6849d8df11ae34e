"""Routes of a bridge that runs: by file, over REST, and tried without sending."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from sqlalchemy import Connection, select, update

from services.bridge import app as bridge_app
from services.bridge.approvals.from_event import EventApprovals
from services.bridge.events import accept, addressed
from services.bridge.events.accept import Caller
from services.bridge.routes.active_routes import route_set
from services.bridge.routes.routes import Routes, Rule, Target
from services.bridge.settings import BridgeSettings
from services.kit.database.connect import open_database
from services.kit.settings import StartError
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from tests import servers
from tests.conftest import BridgeFactory
from tests.servers import Sandbox

EVENT: dict[str, Any] = {"type": "build_failed", "title": "red", "source": "ci"}
BUILDS: dict[str, Any] = {"name": "builds", "category": "build", "to": [{"chat_id": 1002, "silent": True}]}
ALL: dict[str, Any] = {"name": "all", "to": [{"chat_id": 1003}]}
FILE = '[[route]]\nname = "{name}"\nto = [{{ chat_id = {chat_id} }}]\n'


async def put(bridge: httpx.AsyncClient, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = await bridge.put("/api/v1/routes", json={"routes": rules} | more)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def chats_of(bridge: httpx.AsyncClient, **changes: Any) -> list[int]:
    """Who gets an event that is posted."""
    answer = (await bridge.post("/api/v1/events", json=EVENT | changes)).json()
    found = (await bridge.get(answer["links"]["event"])).json()
    return [message["chat_id"] for message in found["messages"]]


async def test_without_routes_the_default_recipients_get_everything(bridge: httpx.AsyncClient) -> None:
    read = (await bridge.get("/api/v1/routes")).json()
    assert (read["source"], read["version"], read["routes"]) == ("api", 0, [])
    assert await chats_of(bridge) == [1001]


async def test_routes_are_in_force_with_the_answer(bridge: httpx.AsyncClient, sandbox: Sandbox) -> None:
    made = await put(bridge, BUILDS, ALL)
    assert (made["version"], made["updated_by"]) == (1, "default")
    assert made["routes"][0]["continue"] is False
    assert await chats_of(bridge) == [1002]
    assert await chats_of(bridge, type="git_push") == [1003]
    assert await chats_of(bridge, chat_id=1001) == [1001]

    async def delivered() -> list[dict[str, Any]]:
        return await sandbox.delivered(1002)

    (call,) = await servers.until(delivered)
    assert call["silent"] is True


async def test_a_batch_is_routed_event_by_event(bridge: httpx.AsyncClient) -> None:
    await put(bridge, BUILDS, ALL)
    batch = [EVENT, EVENT | {"type": "git_push"}, EVENT | {"chat_id": [1001, 1002]}]
    accepted = (await bridge.post("/api/v1/events", json=batch)).json()["accepted"]
    assert [len(one["message_ids"]) for one in accepted] == [1, 1, 2]
    found = [(await bridge.get(one["links"]["event"])).json()["messages"] for one in accepted]
    assert [[m["chat_id"] for m in messages] for messages in found] == [[1002], [1003], [1001, 1002]]


def test_the_update_key_of_an_event_is_that_of_each_of_its_messages() -> None:
    """The engine keeps topics apart."""
    rule = Rule("t", (Target(-1, 5), Target(-1, 6), Target(7)))
    reading = accept.accept(
        addressed.address(orjson.dumps(EVENT | {"update_key": "progress"}), Routes({"default": ()}, (rule,))),
        Caller("ci", None, "", None),
        TraceContext(1, 2, sampled=True),
        now=1e9,
        trace_url="",
        asks=EventApprovals({}, 60.0),
    )
    (messages,) = reading.submission.messages
    assert [(m.chat_id, m.thread_id, m.update_key) for m in messages] == [
        (-1, 5, "progress"),
        (-1, 6, "progress"),
        (7, None, "progress"),
    ]


async def test_a_trial_says_who_would_get_it_and_by_which_rule_and_sends_nothing(
    bridge: httpx.AsyncClient,
) -> None:
    await put(bridge, BUILDS | {"continue": True}, ALL)

    async def trial(event: dict[str, Any], **more: Any) -> dict[str, Any]:
        response = await bridge.post("/api/v1/routes/test", json={"event": event} | more)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    assert await trial(EVENT) == {
        "by": "rules",
        "recipients": [
            {"chat_id": 1002, "thread_id": None, "silent": True, "bot": "default", "rule": "builds"},
            {"chat_id": 1003, "thread_id": None, "silent": False, "bot": "default", "rule": "all"},
        ],
    }
    assert (await trial(EVENT | {"chat_id": 7}))["by"] == "event"
    assert (await trial(EVENT, routes=[]))["by"] == "defaults"
    assert [one["rule"] for one in (await trial(EVENT, routes=[ALL]))["recipients"]] == ["all"]
    assert (await bridge.get("/api/v1/messages")).json()["items"] == []


@pytest.mark.parametrize(
    ("rule", "place"),
    [
        ({"name": "a"}, ["body", "routes", 0, "to"]),
        ({"name": "a", "to": [{"chat_id": 1, "colour": 2}]}, ["body", "routes", 0, "to", 0, "colour"]),
        ({"name": "a", "to": [{"chat_id": 1}], "type": ["nap"]}, ["body", "routes", 0]),
        ({"name": "a", "to": [{"chat_id": 2**60}]}, ["body", "routes", 0, "to", 0, "chat_id"]),
    ],
)
async def test_a_wrong_field_is_named(
    bridge: httpx.AsyncClient, rule: dict[str, Any], place: list[Any]
) -> None:
    response = await bridge.put("/api/v1/routes", json={"routes": [rule]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == place
    assert (await bridge.get("/api/v1/routes")).json()["version"] == 0


async def test_of_two_who_change_the_same_version_the_second_is_told(bridge: httpx.AsyncClient) -> None:
    await put(bridge, ALL, version=0)
    answers = await asyncio.gather(
        *(bridge.put("/api/v1/routes", json={"routes": [rule], "version": 1}) for rule in (ALL, BUILDS))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    assert next(a for a in answers if a.status_code == 409).json()["version"] == 2


async def test_routes_of_the_api_survive_a_restart(bridge_settings: BridgeFactory, database_url: str) -> None:
    settings = bridge_settings(database_url=database_url)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        await put(bridge, BUILDS)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        assert await chats_of(bridge) == [1002]


async def test_another_replica_takes_new_routes(
    replicas: BridgeSettings,
) -> None:
    async with (
        servers.client_of(bridge_app.create_app, replicas) as here,
        servers.client_of(bridge_app.create_app, replicas) as there,
    ):
        await put(here, BUILDS)

        async def known() -> bool:
            return bool((await there.get("/api/v1/routes")).json()["version"] == 1)

        await servers.until(known, patience=5)
        assert await chats_of(there) == [1002]


async def test_a_stored_rule_beyond_todays_limits_is_left_out_and_named(
    bridge_settings: BridgeFactory, database_url: str, telemetry: Telemetry
) -> None:
    """An earlier version took it; the bridge starts, and the other rules stay in force."""
    settings = bridge_settings(database_url=database_url)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        await put(bridge, ALL, BUILDS)
    database = await open_database(database_url, telemetry, packages=bridge_app.PACKAGES)
    await database.write("routes_write", _address_nobody)
    await database.close()
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        read = (await bridge.get("/api/v1/routes")).json()
        assert [rule["name"] for rule in read["routes"]] == ["builds"]
        assert read["error"] == "route 1: to.0.chat_id: no chat has the id 0"
        assert await chats_of(bridge) == [1002]


def _address_nobody(connection: Connection) -> None:
    stored = connection.execute(select(route_set.c.document)).scalar_one()
    values = {"document": stored.replace("1003", "0")}
    connection.execute(update(route_set).values(**values))


@pytest.mark.parametrize("path", ["", "/test"])
async def test_two_routes_of_one_name_are_refused_by_name(bridge: httpx.AsyncClient, path: str) -> None:
    body: dict[str, Any] = {"routes": [ALL, BUILDS | {"name": ALL["name"]}]}
    response = await (
        bridge.post("/api/v1/routes/test", json=body | {"event": EVENT})
        if path
        else bridge.put("/api/v1/routes", json=body)
    )
    assert response.status_code == 422
    assert response.json()["errors"] == [{"loc": ["body", "routes"], "msg": "two routes are named 'all'"}]


# By file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    made = tmp_path / "routes.toml"
    made.write_text(FILE.format(name="first", chat_id=1002))
    return made


@pytest.fixture
async def filed(
    bridge_settings: BridgeFactory, database_url: str, file: Path
) -> AsyncIterator[httpx.AsyncClient]:
    """A bridge whose routes are in a file."""
    settings = bridge_settings(database_url=database_url, routes_file=file)
    async with servers.client_of(bridge_app.create_app, settings) as bridge:
        yield bridge


async def test_a_file_wins_over_the_api(filed: httpx.AsyncClient) -> None:
    assert await chats_of(filed) == [1002]
    refused = await filed.put("/api/v1/routes", json={"routes": []})
    assert refused.status_code == 409
    assert "ROUTES_FILE" in refused.json()["detail"]
    assert (await filed.get("/api/v1/routes")).json()["source"] == "file"


async def test_a_changed_file_is_taken_and_a_broken_one_is_not(filed: httpx.AsyncClient, file: Path) -> None:
    async def routes() -> dict[str, Any]:
        read: dict[str, Any] = (await filed.get("/api/v1/routes")).json()
        return read

    await asyncio.to_thread(file.write_text, "[[route]]\nname = 5\n")

    async def told() -> bool:
        return (await routes())["error"] is not None

    await servers.until(told)
    read = await routes()
    assert "route 1: name: " in read["error"]
    assert [rule["name"] for rule in read["routes"]] == ["first"]
    assert await chats_of(filed) == [1002]

    async def health() -> bool:
        component = (await filed.get("/health")).json()["components"]["routes"]
        return component["status"] == "degraded" and "route 1" in component["error"]

    await servers.until(health)
    failures = "cctelegram_routes_reload_failures_total 1.0"
    assert failures in (await filed.get("/metrics")).text

    replacement = file.with_suffix(".new")
    await asyncio.to_thread(replacement.write_text, FILE.format(name="second", chat_id=1003))
    replacement.replace(file)

    async def taken() -> bool:
        read = await routes()
        return read["error"] is None and read["routes"][0]["name"] == "second"

    await servers.until(taken)
    assert await chats_of(filed) == [1003]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "[[route]]\nname = 5\nto = []\n",
            r"ROUTES_FILE: .*routes\.toml: route 1: name: .*\nROUTES_FILE: .*to",
        ),
        ("\udc80", "ROUTES_FILE: .*: it is not UTF-8 text"),
        (None, "ROUTES_FILE: .*: No such file"),
    ],
)
def test_a_wrong_file_stops_the_start_with_readable_lines(
    bridge_settings: BridgeFactory, file: Path, text: str | None, said: str
) -> None:
    if text is None:
        file.unlink()
    else:
        file.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StartError, match=said):
        bridge_app.create_app(bridge_settings(routes_file=file))
