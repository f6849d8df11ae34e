"""Reading over HTTP: search, a message's life, events, types, stats."""

from datetime import datetime
from typing import Any

import pytest
from httpx import AsyncClient

from services.bridge import app as bridge_app
from services.contracts.events import CATEGORIES
from tests.bridge.events.test_intake import HELLO, delivered, message, post
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.servers import Sandbox, client_of, until

LATER = HELLO | {"deliver_at": "2027-01-01T00:00:00Z"}


async def search(client: AsyncClient, **wanted: Any) -> list[dict[str, Any]]:
    answer = await client.get("/api/v1/messages", params=wanted)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def titles(client: AsyncClient, **wanted: Any) -> list[str]:
    return [item["title"] for item in await search(client, **wanted)]


async def test_search_finds_the_newest_first(bridge: AsyncClient) -> None:
    await post(bridge, [LATER | {"title": f"{n}"} for n in range(5)])
    assert await titles(bridge) == ["4", "3", "2", "1", "0"]


async def test_pages_follow_each_other_without_a_gap_while_more_comes_in(bridge: AsyncClient) -> None:
    await post(bridge, [LATER | {"title": f"{n}"} for n in range(25)])
    seen: list[str] = []
    cursor: str | None = None
    while True:
        wanted = {"limit": 10} | ({"cursor": cursor} if cursor else {})
        page = (await bridge.get("/api/v1/messages", params=wanted)).json()
        seen += [item["title"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        await post(bridge, LATER | {"title": "meanwhile"})
    assert seen == [f"{n}" for n in reversed(range(25))]


async def test_the_messages_of_a_campaign_are_found(bridge: AsyncClient) -> None:
    spring = LATER | {"campaign_id": "spring é", "description": "NUL \0, and how it is written: \\u0000"}
    await post(bridge, spring | {"title": "one", "chat_id": 5})
    await post(bridge, [LATER | {"title": "other"}, LATER | {"title": "autumn", "campaign_id": "autumn"}])
    await post(bridge, [spring | {"title": "two"}, spring | {"title": "three", "chat_id": 5}])
    assert await titles(bridge, campaign_id="spring é") == ["three", "two", "one"]
    assert await titles(bridge, campaign_id="spring é", chat_id=5) == ["three", "one"]
    assert await titles(bridge, campaign_id="spring é", q="TH", limit=1) == ["three"]
    assert await titles(bridge, campaign_id="spring") == []


async def test_every_filter_narrows(bridge: AsyncClient) -> None:
    await post(bridge, LATER | {"title": "one", "chat_id": 5, "correlation_id": "c-1"})
    await post(bridge, LATER | {"title": "two", "type": "build_failed", "chat_id": [5, 6]})
    await post(bridge, LATER | {"title": "three", "chat_id": -7})
    assert await titles(bridge, chat_id=5) == ["two", "one"]
    assert await titles(bridge, chat_id=-7) == ["three"]
    assert await titles(bridge, type="build_failed") == ["two", "two"]
    assert await titles(bridge, correlation_id="c-1") == ["one"]
    assert await titles(bridge, chat_id=5, type="build_failed") == ["two"]
    assert await titles(bridge, status="delivered") == []
    assert len(await titles(bridge, status=["queued", "delivered"])) == 4
    assert await titles(bridge, since="2099-01-01T00:00:00Z") == []
    assert len(await titles(bridge, until="2099-01-01T00:00:00Z")) == 4


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("finish", ["Build FINISHED 100%"]),
        ("BUILD", ["Build FINISHED 100%"]),
        ("100%", ["Build FINISHED 100%"]),
        ("1_0", []),
        ("%", ["Build FINISHED 100%"]),
        ("Ärger", ["Ärger"]),
        ("'; DROP TABLE message; --", []),
        ("\\", []),
    ],
)
async def test_text_is_searched_as_it_is_written(bridge: AsyncClient, q: str, found: list[str]) -> None:
    await post(bridge, [LATER | {"title": title} for title in ("Build FINISHED 100%", "Ärger")])
    assert await titles(bridge, q=q) == found


@on_sqlite
@pytest.mark.parametrize(
    "wanted",
    [
        {"status": "sent"},
        {"limit": 0},
        {"limit": 501},
        {"cursor": 0},
        {"cursor": "x"},
        {"cursor": 2**53 + 1},
        {"chat_id": "x"},
        {"chat_id": 10**30},
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"q": "a\0b"},
        {"correlation_id": "\0"},
        {"type": "\0"},
        {"colour": "red"},
    ],
)
async def test_a_filter_that_makes_no_sense_is_named(bridge: AsyncClient, wanted: dict[str, Any]) -> None:
    answer = await bridge.get("/api/v1/messages", params=wanted)
    assert answer.status_code == 422
    assert next(iter(wanted)) in str(answer.json()["errors"])


@on_sqlite
@pytest.mark.parametrize("path", ["messages", "dead-letters", "responses"])
@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
async def test_a_time_without_a_date_in_utc_is_named(bridge: AsyncClient, path: str, since: str) -> None:
    answer = await bridge.get(f"/api/v1/{path}", params={"since": since})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"loc": ["query", "since"], "msg": "this time is outside the calendar"}
    ]


@pytest.mark.parametrize("path", ["messages", "dead-letters"])
async def test_a_period_that_ends_before_it_begins_is_named(bridge: AsyncClient, path: str) -> None:
    later, earlier = "2026-01-02T00:00:00Z", "2026-01-01T23:59:59.999Z"
    answer = await bridge.get(f"/api/v1/{path}", params={"since": later, "until": earlier})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"loc": ["query", "until"], "msg": "until is before since"}]
    for period in ({"since": earlier, "until": later}, {"since": later, "until": later}):
        answer = await bridge.get(f"/api/v1/{path}", params=period)
        assert answer.status_code == 200


async def test_a_messages_life_is_told_from_the_first_to_the_last_moment(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "reset"})
    taken = await post(bridge, HELLO | {"severity": "high", "thread_id": None, "correlation_id": "c-9"})
    (message_id,) = taken["message_ids"]
    life = await delivered(bridge, message_id)
    (call,) = await sandbox.delivered()
    assert (life["id"], life["event_id"], life["correlation_id"]) == (message_id, taken["event_id"], "c-9")
    assert (life["type"], life["category"], life["severity"]) == ("task_completion", "task", "high")
    assert (life["attempts_made"], life["possible_duplicate"]) == (2, True)
    assert life["telegram_message_ids"] == [call["message_id"]]
    assert [(step["state"], step["cause"]) for step in life["events"]] == [
        ("queued", "accepted"),
        ("sending", "attempt 1"),
        ("retry_wait", "attempt 1: unknown (no_answer)"),
        ("sending", "attempt 2"),
        ("delivered", "attempt 2: sent"),
    ]
    times = [step["at"] for step in life["events"]]
    assert times == sorted(times)
    durations = [step["duration_ms"] for step in life["events"]]
    assert all(spent >= 0 for spent in durations[:-1])
    assert durations[-1] is None
    whole = datetime.fromisoformat(times[-1]) - datetime.fromisoformat(times[0])
    assert sum(durations[:-1]) == pytest.approx(whole.total_seconds() * 1000, abs=2)
    first, second = life["attempts"]
    assert (first["outcome"], first["reason"], first["telegram_message_id"]) == ("unknown", "no_answer", None)
    assert first["detail"]
    assert (second["outcome"], second["telegram_message_id"]) == ("sent", call["message_id"])
    assert all(
        attempt["duration_ms"] >= 0 and attempt["limiter_wait_ms"] >= 0 for attempt in life["attempts"]
    )
    assert life["links"] == {"event": f"/api/v1/events/{taken['event_id']}", "trace": None}


async def test_a_message_that_telegram_took_only_as_plain_text_says_so(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "answer", "status": 400, "description": "Bad Request: something new"})
    (message_id,) = (await post(bridge))["message_ids"]
    life = await delivered(bridge, message_id)
    assert [(step["state"], step["cause"]) for step in life["events"]] == [
        ("queued", "accepted"),
        ("sending", "attempt 1"),
        ("queued", "attempt 1: not_sent (bad_request)"),
        ("sending", "attempt 2"),
        ("delivered", "attempt 2: sent (as plain text)"),
    ]
    assert [attempt["detail"] for attempt in life["attempts"]] == ["Something new", "as plain text"]
    assert (await sandbox.delivered())[0]["entities"] is None


async def test_a_message_that_waits_for_its_retry_says_when(bridge: AsyncClient, sandbox: Sandbox) -> None:
    flood = {
        "kind": "answer",
        "status": 429,
        "description": "Too Many Requests: retry after 500",
        "parameters": {"retry_after": 500},
    }
    await sandbox.faults(flood)
    (message_id,) = (await post(bridge))["message_ids"]

    async def waits() -> Any:
        life = await message(bridge, message_id)
        return life if life["status"] == "retry_wait" else None

    life = await until(waits)
    assert life["next_attempt_at"] > life["accepted_at"]
    assert (life["last_error"], life["attempts"][0]["retry_after_seconds"]) == ("flood_control", 500.0)


async def test_the_trace_is_linked_where_there_is_a_viewer(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    settings = bridge_settings(jaeger_ui_url="http://jaeger:16686")
    async with client_of(bridge_app.create_app, settings) as client:
        taken = await post(client)
        life = await message(client, taken["message_ids"][0])
    link = f"http://jaeger:16686/trace/{taken['trace_id']}"
    assert taken["links"]["trace"] == life["links"]["trace"] == link


async def test_an_event_is_shown_as_it_was_posted_with_its_messages(bridge: AsyncClient) -> None:
    body = LATER | {"chat_id": [5, 6], "data": {"metadata": {"n": 1.5}}, "correlation_id": "c-2"}
    taken = await post(bridge, body)
    shown = (await bridge.get(f"/api/v1/events/{taken['event_id']}")).json()
    assert (shown["id"], shown["event"], shown["correlation_id"]) == (taken["event_id"], body, "c-2")
    assert [(one["id"], one["chat_id"]) for one in shown["messages"]] == [
        (taken["message_ids"][0], 5),
        (taken["message_ids"][1], 6),
    ]


@pytest.mark.parametrize("path", ["messages", "events"])
@pytest.mark.parametrize("name", ["nothing", "0" * 36, "%20", "a%2Fb", "ä"])
async def test_what_is_not_there_is_404(bridge: AsyncClient, path: str, name: str) -> None:
    answer = await bridge.get(f"/api/v1/{path}/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("path", ["messages", "events"])
async def test_an_id_that_no_database_could_keep_is_422(bridge: AsyncClient, path: str) -> None:
    assert (await bridge.get(f"/api/v1/{path}/%00")).status_code == 422


async def test_the_types_are_told_by_category(bridge: AsyncClient) -> None:
    every = (await bridge.get("/api/v1/event-types")).json()
    assert every["count"] == len(every["event_types"]) == 47
    git = (await bridge.get("/api/v1/event-types", params={"category": "git"})).json()
    assert [one["type"] for one in git["event_types"]] == list(CATEGORIES["git"])
    assert (await bridge.get("/api/v1/event-types", params={"category": "x"})).status_code == 422


async def test_stats_make_nothing_up_before_anything_happened(bridge: AsyncClient) -> None:
    async def measured() -> Any:
        found = (await bridge.get("/api/v1/stats")).json()
        return found if found["queue"] and found["counted_at"] else None

    told = await until(measured)
    assert told["rates"] == {"accepted_per_second": 0.0, "delivered_per_second": 0.0}
    assert (told["accepted_total"], told["delivered_total"], told["failed_total"]) == (0, 0, 0)
    assert told["delivery_rate_percent"] is None
    assert told["latency_seconds"] is None
    assert told["oldest_message_age_seconds"] is None
    assert set(told["queue"].values()) == {0}


async def test_stats_count_what_happened(bridge: AsyncClient, sandbox: Sandbox) -> None:
    taken = await post(bridge, [HELLO] * 3)
    await delivered(bridge, taken["accepted"][2]["message_ids"][0])
    (gone,) = (await post(bridge, HELLO | {"chat_id": 424_242}))["message_ids"]

    async def counted() -> Any:
        found = (await bridge.get("/api/v1/stats")).json()
        return found if found["queue"] and found["queue"]["dead_letter"] and found["failed_total"] else None

    told = await until(counted)
    assert (told["accepted_total"], told["delivered_total"], told["failed_total"]) == (4, 3, 1)
    assert told["delivery_rate_percent"] == 75.0
    latency = told["latency_seconds"]
    assert 0 < latency["p50"] <= latency["p95"] <= latency["p99"]
    assert (await message(bridge, gone))["last_error"] == "chat_not_found"


async def test_the_dashboard_is_one_redirect_away(bridge_settings: BridgeFactory) -> None:
    settings = bridge_settings(dashboard_url="http://dash.example/")
    async with client_of(bridge_app.create_app, settings) as client:
        for path in ("/dashboard", "/dashboard/"):
            answer = await client.get(path, headers={"Authorization": ""})
            assert (answer.status_code, answer.headers["location"]) == (307, "http://dash.example/dashboard/")


@pytest.mark.parametrize("path", ["approvals", "responses", "dead-letters"])
async def test_a_nul_is_a_wrong_question_and_no_outage(bridge: AsyncClient, path: str) -> None:
    """PostgreSQL refuses it; a caller who is told 503 would try again for ever."""
    answer = await bridge.get(f"/api/v1/{path}", params={"correlation_id": "a\0b"})
    assert answer.status_code in (200, 404, 422)
