"""What the API tells of lives in flight and of a correlation id."""

import httpx
import pytest

from services.bridge.tracking import api as tracking_api
from tests.bridge.tracking.conftest import ADA, Post, State, later
from tests.servers import Sandbox


async def test_what_is_in_flight_is_listed_with_how_it_came_there(
    bridge: httpx.AsyncClient, post: Post, in_state: State
) -> None:
    await in_state(await post("done"), "delivered")
    first = await post("first", deliver_at=later())
    second = await post("second", deliver_at=later())
    items = (await bridge.get("/api/v1/traces")).json()["items"]
    assert [item["id"] for item in items] == [second, first]
    assert items[0]["status"] == "queued"
    assert items[0]["age_seconds"] >= 0
    assert [step["state"] for step in items[0]["events"]] == ["queued"]
    assert items[0]["since"] == items[0]["events"][0]["at"]


async def test_all_lives_are_listed_when_asked_for(
    bridge: httpx.AsyncClient, post: Post, in_state: State
) -> None:
    await in_state(await post("done"), "delivered")
    await post("waits", deliver_at=later())
    page = (await bridge.get("/api/v1/traces", params={"active": False, "limit": 1})).json()
    assert [item["title"] for item in page["items"]] == ["waits"]
    query = {"active": False, "cursor": page["next_cursor"]}
    rest = (await bridge.get("/api/v1/traces", params=query)).json()["items"]
    assert [(item["title"], item["status"]) for item in rest] == [("done", "delivered")]
    assert [step["state"] for step in rest[0]["events"]] == ["queued", "sending", "delivered"]


async def test_a_correlation_is_told_as_one_story_in_the_order_of_time(
    bridge: httpx.AsyncClient, post: Post, in_state: State, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "answer", "status": 400, "description": "Bad Request: message is too long"})
    first = await post("first", correlation_id="ci/build:7")
    await in_state(first, "dead_letter")
    await bridge.post(f"/api/v1/messages/{first}/replay", json={"reason": "mended"})
    await in_state(first, "delivered")
    second = await post("second", correlation_id="ci/build:7")
    await in_state(second, "delivered")
    await in_state(await post("other", correlation_id="else"), "delivered")
    story = (await bridge.get("/api/v1/traces/ci/build:7")).json()
    assert story["correlation_id"] == "ci/build:7"
    assert story["states"] == {"delivered": 2}
    assert story["truncated"] is False
    assert len(set(story["trace_ids"])) == 2
    assert [message["id"] for message in story["messages"]] == [first, second]
    times = [step["at"] for step in story["timeline"]]
    assert times == sorted(times)
    mine = [step for step in story["timeline"] if step.get("message_id") == first]
    said = [step.get("status") or step["outcome"] for step in mine]
    assert said == [
        "queued",
        "sending",
        "not_sent",
        "dead_letter",
        "queued",
        "sending",
        "sent",
        "delivered",
    ]
    assert "replayed by default: mended" in [step.get("cause") for step in mine]
    assert [step["title"] for step in story["timeline"] if step["what"] == "event"] == ["first", "second"]


async def test_an_unknown_correlation_id_is_said_to_be_so(bridge: httpx.AsyncClient) -> None:
    assert (await bridge.get("/api/v1/traces/nothing")).status_code == 404


async def test_a_long_story_says_that_it_is_cut(
    bridge: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    chats = list(range(1, 101))
    events = [
        {
            "type": "custom_event",
            "title": f"t{n}",
            "chat_id": chats,
            "correlation_id": "big",
            "deliver_at": later(),
        }
        for n in range(6)
    ]
    answer = await bridge.post("/api/v1/events", json=events)
    assert answer.status_code == 202
    story = (await bridge.get("/api/v1/traces/big")).json()
    assert story["truncated"] is True
    assert len(story["messages"]) == tracking_api.MOST_MESSAGES
    assert ADA not in {message["chat_id"] for message in story["messages"]}
