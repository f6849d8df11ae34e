import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from services.contracts.health import HealthReport
from services.contracts.messages import Stats
from services.dashboard.app import create_app
from services.dashboard.pollers import Poller
from services.kit.health import Level
from services.kit.runner import running
from tests import servers
from tests.dashboard.conftest import Settings
from tests.dashboard.suite import START, Suite, serving, until
from tests.servers import ManualClock


@pytest.fixture
async def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
async def stats(suite: Suite, clock: ManualClock) -> AsyncIterator[Poller[Stats]]:
    headers = {"Authorization": "Bearer cct_the-key-of-these-tests-only"}
    async with httpx.AsyncClient(base_url=f"{suite.url}/bridge", headers=headers) as client:
        yield Poller(client, "/api/v1/stats", Stats, every=1.0, clock=clock)


def answer_instead(suite: Suite, response: Response) -> None:
    suite.instead["/bridge/api/v1/stats"] = response


async def test_a_feed_that_was_never_asked_has_heard_nothing(stats: Poller[Stats]) -> None:
    assert stats.polled.value is None
    assert stats.polled.polled_at is None
    assert (await stats.check_health()).level is Level.UNKNOWN


async def test_an_answer_is_kept_with_its_time(stats: Poller[Stats], suite: Suite) -> None:
    suite.accept("Build finished")
    await stats.poll()
    assert stats.polled.value is not None
    assert stats.polled.value.accepted_total == 1
    assert stats.polled.answered_at == START
    assert stats.polled.failure is None
    assert (await stats.check_health()).level is Level.HEALTHY


@pytest.mark.parametrize(
    ("response", "failure"),
    [
        (JSONResponse({}, 500), "answered 500"),
        (JSONResponse({}, 503), "answered 503"),
        (Response("<html>", media_type="text/html"), "unexpected answer: body: Invalid JSON"),
        (JSONResponse([]), "unexpected answer: body: Input should be an object"),
        (JSONResponse({"accepted_total": "x"}), "unexpected answer: accepted_total: Input should be"),
        (Response(b"\xff\xfe\x00"), "unexpected answer: body: Invalid JSON"),
    ],
)
async def test_a_failure_is_kept_beside_the_last_answer(
    stats: Poller[Stats], suite: Suite, clock: ManualClock, response: Response, failure: str
) -> None:
    await stats.poll()
    clock.advance(1)
    answer_instead(suite, response)
    await stats.poll()
    assert stats.polled.value is not None
    assert stats.polled.answered_at == START
    assert stats.polled.polled_at == START + 1
    assert str(stats.polled.failure).startswith(failure)
    reading = await stats.check_health()
    assert reading.level is Level.DEGRADED
    assert reading.measured["age_seconds"] == 1.0


async def test_an_answer_after_a_failure_clears_it(stats: Poller[Stats], suite: Suite) -> None:
    answer_instead(suite, JSONResponse({}, 500))
    await stats.poll()
    suite.instead.clear()
    await stats.poll()
    assert stats.polled.failure is None
    assert stats.polled.value is not None


async def test_nobody_at_home_is_told_in_words() -> None:
    async with servers.http("http://127.0.0.1:1") as client:
        poller = Poller(client, "/health", HealthReport, every=1.0, clock=ManualClock())
        await poller.poll()
    assert poller.polled.failure == "cannot connect"
    assert poller.polled.value is None


async def test_a_service_that_hangs_up_is_a_failure() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with servers.http(f"http://127.0.0.1:{port}") as client:
            poller = Poller(client, "/health", HealthReport, every=1.0, clock=ManualClock())
            await poller.poll()
    assert poller.polled.failure == "Server disconnected without sending a response."


async def test_a_service_that_never_answers_is_a_failure_in_time() -> None:
    finished = asyncio.Event()

    async def keep_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await finished.wait()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with servers.http(f"http://127.0.0.1:{port}", timeout=0.05) as client:
            poller = Poller(client, "/health", HealthReport, every=1.0, clock=ManualClock())
            await poller.poll()
        finished.set()
    assert poller.polled.failure == "no answer within 3 s"


async def until_state(viewer: httpx.AsyncClient, holds: Callable[[Any], Any]) -> Any:
    """Waits for the first state that fulfils a condition."""

    async def state() -> Any:
        answer = (await viewer.get("/api/state")).json()
        return answer if holds(answer) else None

    return await until(state)


async def test_a_critical_service_says_so_itself_with_503(viewer: httpx.AsyncClient, suite: Suite) -> None:
    report = suite.health["bridge"] | {"status": "critical"}
    suite.instead["/bridge/health"] = JSONResponse(report, 503)
    state = await until_state(viewer, lambda state: state["level"] == "critical")
    bridge = state["services"][0]
    assert bridge["level"] == "critical"
    assert bridge["failure"] is None


async def test_what_was_told_before_is_kept_when_the_bridge_goes_away_and_comes_back(
    viewer: httpx.AsyncClient, suite: Suite
) -> None:
    suite.accept("Build finished")
    await until_state(viewer, lambda state: state["flow"]["accepted_total"] == 1)
    suite.instead["/bridge/api/v1/stats"] = JSONResponse({}, 500)
    state = await until_state(viewer, lambda state: not state["flow"]["fresh"])
    assert state["flow"]["failure"] == "answered 500"
    assert state["flow"]["accepted_total"] == 1
    suite.instead.clear()
    await until_state(viewer, lambda state: state["flow"]["fresh"] and state["flow"]["failure"] is None)


async def test_the_dashboard_itself_says_what_it_cannot_read(
    visitor: httpx.AsyncClient, suite: Suite
) -> None:
    suite.instead["/relay/api/v1/incidents"] = JSONResponse({}, 404)

    async def component() -> Any:
        found = (await visitor.get("/health")).json()["components"]["alert_relay_incidents"]
        return found if found["status"] == "degraded" else None

    assert (await until(component))["failure"] == "answered 404"
    assert (await visitor.get("/health/ready")).status_code == 200


async def test_the_whole_suite_may_be_away(suite: Suite, viewer: httpx.AsyncClient) -> None:
    await until_state(viewer, lambda state: state["level"] == "healthy")
    for path in ("/bridge/health", "/mcp/health", "/relay/health"):
        suite.instead[path] = JSONResponse({"oops": 1}, 200)
    state = await until_state(viewer, lambda state: state["level"] == "critical")
    assert {service["level"] for service in state["services"]} == {"critical"}
    assert state["services"][0]["failure"] == "unexpected answer: status: Field required"


async def test_a_suite_that_starts_after_the_dashboard_is_found(make_settings: Settings) -> None:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    settings = make_settings(f"http://127.0.0.1:{port}", auth_enabled=False)
    async with running(create_app, settings) as up, servers.http(up.url) as client:
        state = await until_state(client, lambda state: state["level"] == "critical")
        assert state["flow"]["failure"] == "cannot connect"
        assert state["flow"]["accepted_total"] is None
        async with serving(Suite(), port):
            state = await until_state(client, lambda state: state["level"] == "healthy")
            assert state["flow"]["accepted_total"] == 0
