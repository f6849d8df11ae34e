"""POST /events over HTTP: what comes in, what is answered, and what is on disk by then."""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import orjson
import pytest
from httpx import AsyncClient

from services.bridge import app as bridge_app
from services.bridge.events.addressed import LARGEST_BATCH
from services.kit.clock import SystemClock
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite
from tests.servers import Sandbox, client_of, until

HELLO: dict[str, Any] = {"type": "task_completion", "title": "Build finished", "source": "ci"}
PATHS = ["/events", "/api/v1/events"]


async def post(client: AsyncClient, body: Any = HELLO, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = await client.post("/api/v1/events", json=body, headers=named)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def message(client: AsyncClient, message_id: str) -> Any:
    return (await client.get(f"/api/v1/messages/{message_id}")).json()


async def delivered(client: AsyncClient, message_id: str) -> Any:
    """The message's life once it is delivered."""

    async def there() -> Any:
        life = await message(client, message_id)
        return life if life["status"] == "delivered" else None

    return await until(there)


@pytest.mark.parametrize("path", PATHS)
async def test_an_event_is_taken_and_delivered(bridge: AsyncClient, sandbox: Sandbox, path: str) -> None:
    answer = await bridge.post(path, json=HELLO)
    assert (answer.status_code, answer.headers["content-type"]) == (202, "application/json")
    taken = answer.json()
    assert taken["status"] == "queued"
    await delivered(bridge, taken["message_ids"][0])
    assert await sandbox.texts(1001) == ["✅ Build finished\n\nci"]


async def test_what_was_accepted_is_on_disk(bridge: AsyncClient) -> None:
    taken = await post(bridge, HELLO | {"deliver_at": "2027-01-01T00:00:00Z"})
    found = await message(bridge, taken["message_ids"][0])
    assert (found["status"], found["event_id"]) == ("queued", taken["event_id"])


async def test_a_batch_is_answered_event_by_event(bridge: AsyncClient, sandbox: Sandbox) -> None:
    batch = [HELLO | {"title": f"number {n}"} for n in range(10)]
    taken = (await post(bridge, batch))["accepted"]
    assert len({one["event_id"] for one in taken}) == 10
    assert len({one["trace_id"] for one in taken}) == 1
    await delivered(bridge, taken[-1]["message_ids"][0])
    assert [text.splitlines()[0] for text in await sandbox.texts(1001)] == [
        f"✅ number {n}" for n in range(10)
    ]


async def test_a_batch_is_taken_as_a_whole_or_not_at_all(bridge: AsyncClient) -> None:
    answer = await bridge.post("/events", json=[HELLO, HELLO | {"title": ""}, HELLO])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == [1, "title"]
    assert (await bridge.get("/api/v1/messages")).json()["items"] == []


async def test_the_largest_batch_is_taken_and_one_more_is_not(bridge: AsyncClient) -> None:
    later = HELLO | {"deliver_at": "2027-01-01T00:00:00Z"}
    assert len((await post(bridge, [later] * LARGEST_BATCH))["accepted"]) == LARGEST_BATCH
    assert (await bridge.post("/events", json=[later] * (LARGEST_BATCH + 1))).status_code == 422


async def test_a_wrong_field_is_named_in_a_problem_document(bridge: AsyncClient) -> None:
    answer = await bridge.post("/events", json={"type": "x", "titel": "y", "data": {"exit_code": "z"}})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    problem = answer.json()
    assert (problem["title"], problem["status"]) == ("Invalid input", 422)
    assert {tuple(entry["loc"]) for entry in problem["errors"]} == {
        ("title",),
        ("titel",),
        ("data", "exit_code"),
    }
    assert all(entry["msg"] for entry in problem["errors"])


@on_sqlite
@pytest.mark.parametrize("body", [b"", b"{", b"not json", b"\xff\xfe", b"null", b"[" * 5_000])
async def test_what_is_not_json_is_a_422_that_says_where(bridge: AsyncClient, body: bytes) -> None:
    answer = await bridge.post("/events", content=body)
    assert answer.status_code == 422
    assert answer.json()["errors"]


@pytest.mark.parametrize("text", ["a\0b", "\0"])
async def test_what_no_database_keeps_is_refused_by_name(bridge: AsyncClient, text: str) -> None:
    """On PostgreSQL it would fail the commit of every request in its group."""
    answer = await bridge.post("/events", json=HELLO | {"title": text})
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, ["title"])


async def test_what_stands_in_data_may_be_anything_json_has(bridge: AsyncClient, sandbox: Sandbox) -> None:
    metadata = {"a": "\0", "b": [1e300, -1, None, {"c": "\u2028"}], "": 2**63}
    taken = await post(bridge, HELLO | {"data": {"metadata": metadata, "results": "nul \0 here"}})
    await delivered(bridge, taken["message_ids"][0])
    kept = (await bridge.get(f"/api/v1/events/{taken['event_id']}")).json()["event"]
    assert kept["data"]["metadata"]["a"] == "\0"
    assert "nul  here" in (await sandbox.texts())[0]


async def test_a_body_over_the_limit_is_413(bridge: AsyncClient) -> None:
    answer = await bridge.post("/events", content=b" " * 1_048_577)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")


async def test_a_body_over_the_limit_is_413_without_its_length_too(bridge: AsyncClient) -> None:
    async def endless() -> Any:
        for _ in range(40):
            yield b" " * 65_536

    answer = await bridge.post("/events", content=endless())
    assert answer.status_code == 413
    assert (await bridge.get("/health/live")).status_code == 200


@on_sqlite
@pytest.mark.parametrize("path", [*PATHS, "/api/v1/messages", "/api/v1/stats", "/api/v1/event-types"])
@pytest.mark.parametrize("authorization", [None, "", "Bearer", "Bearer wrong", "Basic cct_key-of-the-tests"])
async def test_without_the_key_nothing_opens(
    bridge: AsyncClient, path: str, authorization: str | None
) -> None:
    async with AsyncClient(base_url=bridge.base_url) as stranger:
        method = "POST" if path in PATHS else "GET"
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = await stranger.request(method, path, headers=headers, content=b"{}")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


# Idempotency


async def test_a_repetition_gets_the_first_answer_and_sends_nothing(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    first, second = [
        await bridge.post("/events", json=HELLO, headers={"Idempotency-Key": "k-1"}) for _ in range(2)
    ]
    assert first.json() == second.json()
    assert "idempotent-replayed" not in first.headers
    assert (second.status_code, second.headers["idempotent-replayed"]) == (202, "true")
    await delivered(bridge, first.json()["message_ids"][0])
    assert len((await bridge.get("/api/v1/messages")).json()["items"]) == 1


async def test_a_key_with_another_body_is_422(bridge: AsyncClient) -> None:
    await post(bridge, HELLO, Idempotency_Key="k-1")
    answer = await bridge.post("/events", json=HELLO | {"title": "other"}, headers={"Idempotency-Key": "k-1"})
    assert (answer.status_code, answer.json()["title"]) == (422, "Idempotency-Key reused")


async def test_the_same_key_many_times_at_once_stores_one_event(bridge: AsyncClient) -> None:
    answers = await asyncio.gather(
        *(bridge.post("/events", json=HELLO, headers={"Idempotency-Key": "k-1"}) for _ in range(20))
    )
    assert {answer.status_code for answer in answers} <= {202, 409}
    assert len({answer.json()["event_id"] for answer in answers if answer.status_code == 202}) == 1
    assert len((await bridge.get("/api/v1/messages")).json()["items"]) == 1


async def test_a_refused_event_does_not_use_up_its_key(bridge: AsyncClient) -> None:
    wrong = await bridge.post("/events", json=HELLO | {"title": ""}, headers={"Idempotency-Key": "k-1"})
    assert wrong.status_code == 422
    await post(bridge, HELLO, Idempotency_Key="k-1")


@pytest.mark.parametrize("key", ["", "k" * 256])
async def test_a_key_that_protects_nothing_is_400(bridge: AsyncClient, key: str) -> None:
    answer = await bridge.post("/events", json=HELLO, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["title"]) == (400, "Bad Idempotency-Key")


class Tomorrow(SystemClock):
    """The system's clock, some hours ahead."""

    def time(self) -> float:
        return super().time() + 20 * 3_600


async def test_a_repetition_gets_the_first_answer_though_its_time_has_passed(
    bridge_settings: BridgeFactory, database_url: str
) -> None:
    settings = bridge_settings(database_url=database_url)
    soon = datetime.now(UTC) + timedelta(hours=1)
    body = HELLO | {"expires_at": soon.isoformat()}
    keyed = {"Idempotency-Key": "k-1"}
    async with client_of(bridge_app.create_app, settings) as bridge:
        first = await bridge.post("/events", json=body, headers=keyed)
    async with client_of(partial(bridge_app.create_app, clock=Tomorrow()), settings) as bridge:
        again = await bridge.post("/events", json=body, headers=keyed)
        assert (again.status_code, again.headers["idempotent-replayed"]) == (202, "true")
        assert again.json() == first.json()
        assert len((await bridge.get("/api/v1/messages")).json()["items"]) == 1
        for changed, key in ((body, "k-2"), (body | {"title": "other"}, "k-1")):
            refused = await bridge.post("/events", json=changed, headers={"Idempotency-Key": key})
            assert (refused.status_code, refused.json()["errors"][0]["loc"]) == (422, ["expires_at"])


# Tracing and correlation


async def test_a_callers_trace_goes_on(bridge: AsyncClient) -> None:
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    answer = await bridge.post(
        "/events", json=HELLO, headers={"traceparent": f"00-{trace_id}-b7ad6b7169203331-01"}
    )
    assert answer.json()["trace_id"] == trace_id
    assert answer.headers["traceresponse"].startswith(f"00-{trace_id}-")
    assert (await message(bridge, answer.json()["message_ids"][0]))["trace_id"] == trace_id


@on_sqlite
@pytest.mark.parametrize(
    "header", ["", "junk", "00-0-0-0", f"00-{'0' * 32}-{'1' * 16}-01", f"ff-{'1' * 32}-{'1' * 16}-01"]
)
async def test_a_broken_traceparent_begins_a_trace_of_its_own(bridge: AsyncClient, header: str) -> None:
    trace_id = (await post(bridge, HELLO, traceparent=header))["trace_id"]
    assert len(trace_id) == 32
    assert int(trace_id, 16) not in (0, int("1" * 32, 16))


async def test_a_correlation_id_is_taken_from_the_header(bridge: AsyncClient) -> None:
    assert (await post(bridge, HELLO, X_Correlation_ID="run-7"))["correlation_id"] == "run-7"


@pytest.mark.parametrize("header", ["a b", "x" * 129, "<script>"])
async def test_a_correlation_id_that_is_none_is_left_out(bridge: AsyncClient, header: str) -> None:
    taken = await post(bridge, HELLO, X_Correlation_ID=header)
    assert taken["correlation_id"] == taken["event_id"]


# Limits of the service itself


async def test_over_the_rate_limit_is_429_with_a_time(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    settings = bridge_settings(rate_limit_per_second=0.5)
    async with client_of(bridge_app.create_app, settings) as client:
        answers = [await client.post("/events", json=HELLO) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [202, 429, 429]
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_events_go_to_the_recipients_of_the_settings(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    settings = bridge_settings(telegram_chat_ids="1001, -2001")
    async with client_of(bridge_app.create_app, settings) as client:
        taken = await post(client)
        for message_id in taken["message_ids"]:
            await delivered(client, message_id)
    assert sorted([call["chat_id"] for call in await sandbox.delivered()]) == [-2001, 1001]


async def test_a_stop_answers_what_is_under_way(bridge_settings: BridgeFactory, sandbox: Sandbox) -> None:
    settings = bridge_settings()
    async with client_of(bridge_app.create_app, settings) as client:
        answers = await asyncio.gather(*(client.post("/events", json=HELLO) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    async with client_of(bridge_app.create_app, settings) as client:
        for answer in answers:
            await delivered(client, answer.json()["message_ids"][0])
    assert len(await sandbox.delivered()) == 50


async def test_the_answer_is_not_held_up_by_telegram(bridge: AsyncClient, sandbox: Sandbox) -> None:
    await sandbox.faults({"kind": "hang", "seconds": 3600, "times": None})
    taken = await asyncio.gather(*(post(bridge) for _ in range(20)))
    assert len(taken) == 20
    await sandbox.no_faults()


async def test_a_body_is_read_as_it_stands(bridge: AsyncClient) -> None:
    raw = orjson.dumps(HELLO) + b"\n\n"
    answer = await bridge.post("/events", content=raw, headers={"Content-Type": "text/plain"})
    assert answer.status_code == 202
