import re
from typing import Any

import httpx
from starlette.responses import JSONResponse, Response

from services.dashboard.app import create_app
from services.kit.errors import Problem
from services.kit.runner import running
from tests import servers
from tests.dashboard.conftest import Settings
from tests.dashboard.suite import KEY, Suite, incident
from tests.dashboard.test_pollers import until_state

MESSAGES = "/bridge/api/v1/messages"


async def test_every_number_is_behind_the_login(visitor: httpx.AsyncClient) -> None:
    for path in ("/api/state", "/api/history", "/api/messages", "/api/messages/0199-0001"):
        answer = await visitor.get(path)
        assert answer.status_code == 401, path
        assert answer.headers["www-authenticate"] == "Bearer"
        assert answer.json()["detail"] == "Log in at /login, or send `Authorization: Bearer KEY`."


async def test_a_program_may_use_the_suites_key(visitor: httpx.AsyncClient) -> None:
    right = await visitor.get("/api/state", headers={"Authorization": f"Bearer {KEY}"})
    wrong = await visitor.get("/api/state", headers={"Authorization": "Bearer guess"})
    assert right.status_code == 200
    assert wrong.status_code == 401


async def test_a_missing_login_is_no_attack_and_a_wrong_key_is_counted(visitor: httpx.AsyncClient) -> None:
    await visitor.get("/api/state")
    await visitor.get("/api/state", headers={"Authorization": "Bearer guess"})
    assert "auth_failed_attempts_total 1.0" in (await visitor.get("/metrics")).text


async def test_without_a_login_everybody_may_look(suite: Suite, make_settings: Settings) -> None:
    async with (
        running(create_app, make_settings(suite.url, auth_enabled=False)) as up,
        servers.http(up.url) as client,
    ):
        assert (await client.get("/dashboard/")).status_code == 200
        assert (await client.get("/login")).headers["location"] == "/dashboard/"
        state = await until_state(client, lambda state: state["level"] == "healthy")
        assert state["auth_enabled"] is False


async def test_the_state_holds_what_each_service_told(viewer: httpx.AsyncClient, suite: Suite) -> None:
    suite.deliver(suite.accept("Build finished"))
    suite.incidents.append(incident(id="7", alertname="HighQueueDepth"))
    state = await until_state(
        viewer, lambda state: state["flow"]["delivered_total"] == 1 and state["incidents"]["items"]
    )
    assert [service["name"] for service in state["services"]] == ["bridge", "mcp-health", "alert-relay"]
    assert state["flow"]["latency_seconds"] == {"p50": 0.12, "p95": 0.12, "p99": 0.12}
    assert state["flow"]["delivery_rate_percent"] == 100.0
    assert state["incidents"]["items"][0]["alertname"] == "HighQueueDepth"
    parts = {part["name"]: part for part in state["services"][0]["parts"]}
    assert parts["telegram_api"]["measured"] == {"response_time_ms": 45}


async def test_links_are_those_that_are_configured(suite: Suite, make_settings: Settings) -> None:
    settings = make_settings(suite.url, auth_enabled=False, jaeger_ui_url="http://localhost:16686/")
    async with running(create_app, settings) as up, servers.http(up.url) as client:
        links = (await client.get("/api/state")).json()["links"]
    assert links == {
        "grafana": None,
        "prometheus": None,
        "jaeger": "http://localhost:16686",
        "sandbox": None,
    }


async def test_the_history_grows_with_what_the_bridge_counts(viewer: httpx.AsyncClient, suite: Suite) -> None:
    await until_state(viewer, lambda state: state["flow"]["accepted_total"] == 0)
    suite.accept("Build finished")
    await until_state(viewer, lambda state: state["flow"]["accepted_total"] == 1)
    history = (await viewer.get("/api/history")).json()
    assert history["step"] == 5.0
    assert 1 in history["queue_depth"]
    assert max(rate for rate in history["accepted_per_second"] if rate is not None) > 0
    assert all(value is None for value in history["p95_seconds"])
    assert len({len(column) for column in history.values() if isinstance(column, list)}) == 1


async def test_the_history_may_be_asked_for_in_part(viewer: httpx.AsyncClient) -> None:
    history = (await viewer.get("/api/history", params={"points": 10, "since": 4e9})).json()
    assert history["step"] == 360.0
    assert history["t"] == []


async def test_a_wrong_question_to_the_history_is_told_by_field(viewer: httpx.AsyncClient) -> None:
    wrong = ["points=0", "points=721", "points=x", "since=-1", "since=nan", "since=inf", "since="]
    for query in wrong:
        answer = await viewer.get(f"/api/history?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["loc"] == ["query", query.partition("=")[0]]


async def test_a_search_is_the_bridges_own(viewer: httpx.AsyncClient, suite: Suite) -> None:
    for number in range(5):
        suite.accept(f"Build {number} finished")
    suite.deliver(suite.accept("Deploy finished"))
    found = (await viewer.get("/api/messages", params={"status": "queued", "q": "build", "limit": 2})).json()
    assert [item["title"] for item in found["items"]] == ["Build 4 finished", "Build 3 finished"]
    older = await viewer.get(
        "/api/messages",
        params={"status": "queued", "q": "build", "limit": 2, "cursor": found["next_cursor"]},
    )
    assert [item["title"] for item in older.json()["items"]] == ["Build 2 finished", "Build 1 finished"]


async def test_a_wrong_search_never_reaches_the_bridge(viewer: httpx.AsyncClient, suite: Suite) -> None:
    suite.instead[MESSAGES] = JSONResponse({"items": [], "next_cursor": None})
    long = [f"q={'x' * 201}", f"cursor={'1' * 501}"]
    for query in ["limit=0", "limit=501", "status=DELIVERED", "status=a%00b", "colour=red", *long]:
        answer = await viewer.get(f"/api/messages?{query}")
        assert answer.status_code == 422, query
        assert answer.json()["errors"][0]["loc"][-1] == query.partition("=")[0]


async def test_a_life_holds_states_and_attempts(viewer: httpx.AsyncClient, suite: Suite) -> None:
    message_id = suite.accept("Build finished")
    suite.deliver(message_id)
    history = (await viewer.get(f"/api/messages/{message_id}")).json()
    assert [event["state"] for event in history["events"]] == ["queued", "sending", "delivered"]
    assert history["attempts"][0]["limiter_wait_ms"] == 41.0
    assert history["attempts"][0]["telegram_message_id"] == 7


async def test_a_message_that_does_not_exist_is_404_in_the_bridges_words(viewer: httpx.AsyncClient) -> None:
    answer = await viewer.get("/api/messages/0199-9999")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "There is no message with this id."


async def test_an_id_cannot_lead_elsewhere(viewer: httpx.AsyncClient, suite: Suite) -> None:
    for message_id in ("..%2Fstats", "a%2Fb", "x%20y", "a" * 65, "%00", "a%3Fb%23"):
        answer = await viewer.get(f"/api/messages/{message_id}")
        assert answer.status_code in (404, 422), message_id
    assert not [path for path in suite.requests if path.startswith(f"{MESSAGES}/")]


async def test_a_bridge_that_does_not_answer_well_is_told_and_never_a_500(
    viewer: httpx.AsyncClient, suite: Suite
) -> None:
    elsewhere = Response(status_code=302, headers={"Location": "http://127.0.0.1:1/"})
    for response, status, detail in (
        (JSONResponse({}, 500), 502, "answered 500"),
        (JSONResponse({}, 401), 502, "It does not know the dashboard's API key."),
        (JSONResponse({"items": 3}), 502, "unexpected answer: items: Input should be"),
        (Problem(422, "Invalid input", "since is no time").response(), 422, "since is no time"),
        (JSONResponse({"title": "Invalid input", "errors": "x"}, 422), 422, ""),
        (Response("no", 404), 404, ""),
        (JSONResponse(["no"], 400), 400, ""),
        (elsewhere, 502, "answered 302"),
    ):
        suite.instead[MESSAGES] = response
        answer = await viewer.get("/api/messages")
        assert answer.status_code == status
        problem: dict[str, Any] = answer.json()
        assert problem.get("detail", "").startswith(detail)


async def test_the_calls_to_other_services_are_counted_without_ids(
    viewer: httpx.AsyncClient, suite: Suite
) -> None:
    await viewer.get(f"/api/messages/{suite.accept('Build finished')}")
    await viewer.get("/api/messages?q=x")
    metrics = (await viewer.get("/metrics")).text
    assert (
        'external_api_calls_total{endpoint="/api/v1/messages/{id}",provider="bridge",status_code="200"} 1.0'
        in metrics
    )
    # In a label: the number of a sample may have these digits.
    assert not re.search(r'="[^"]*0199', metrics)
