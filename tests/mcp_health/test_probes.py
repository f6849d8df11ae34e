from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import Request
from starlette.responses import Response, StreamingResponse

from services.mcp_health import probes
from services.mcp_health.probes import CallError
from tests.mcp_health.neighbours import (
    Neighbour,
    alert,
    alertmanager,
    calling,
    health,
    prometheus,
    raw_server,
    serving,
    target,
    unused_port,
)

TOKEN = "1000000001:AAEhBP0av28fjk-verysecret-verysecret"


async def failure(url: str, patience: float = 5.0) -> CallError:
    async with calling(url, patience) as client:
        with pytest.raises(CallError) as raised:
            await probes.own_service(client)
    return raised.value


async def test_a_service_s_report_is_read() -> None:
    bridge = Neighbour()
    bridge.answers_json("/health", health("degraded", database="healthy", redis="degraded"))
    async with serving(bridge), calling(bridge.url) as client:
        answer = await probes.own_service(client)
    assert answer.status == "degraded"
    assert answer.components["redis"].status == "degraded"


async def test_what_a_component_measured_is_kept() -> None:
    bridge = Neighbour()
    bridge.answers_json(
        "/health", health(database={"status": "healthy", "dialect": "sqlite", "response_time_ms": 2})
    )
    async with serving(bridge), calling(bridge.url) as client:
        answer = await probes.own_service(client)
    assert answer.components["database"].measured == {"dialect": "sqlite", "response_time_ms": 2}


async def test_503_with_a_report_is_an_answer() -> None:
    bridge = Neighbour()
    bridge.answers_json("/health", health("critical", database="critical"), 503)
    async with serving(bridge), calling(bridge.url) as client:
        assert (await probes.own_service(client)).status == "critical"


async def test_503_without_a_report_is_a_failure() -> None:
    bridge = Neighbour()
    bridge.answers_body("/health", "no backend", 503)
    async with serving(bridge):
        error = await failure(bridge.url)
    assert str(error) == "/health answered 503 without a report"
    assert not error.answered


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 429])
async def test_a_refusal_is_an_answer_but_no_report(status: int) -> None:
    bridge = Neighbour()
    bridge.answers_json("/health", {"title": "no"}, status)
    async with serving(bridge):
        error = await failure(bridge.url)
    assert error.answered
    assert str(error) == f"/health answered {status}"


@pytest.mark.parametrize("status", [301, 302, 500, 502, 504])
async def test_other_statuses_are_failures(status: int) -> None:
    bridge = Neighbour()
    bridge.answers_body("/health", "", status, location="/elsewhere")
    async with serving(bridge):
        error = await failure(bridge.url)
    assert not error.answered
    assert bridge.paths() == ["/health"]  # a redirect is not followed


async def test_nobody_listening_is_a_failure_that_says_so() -> None:
    error = await failure(await unused_port())
    assert str(error).startswith("cannot connect")
    assert not error.answered


async def test_no_answer_in_time_is_a_failure() -> None:
    bridge = Neighbour()
    bridge.hangs("/health")
    async with serving(bridge):
        error = await failure(bridge.url, patience=0.05)
    assert str(error) == "no answer in time"


async def test_a_connection_that_is_reset_is_a_failure() -> None:
    async with raw_server(b"", reset=True) as url:
        error = await failure(url)
    assert str(error).startswith("the call broke off")


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"this is no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
    ],
    ids=["nothing", "another protocol", "cut short", "a broken encoding"],
)
async def test_what_is_no_http_answer_is_a_failure(reply: bytes) -> None:
    async with raw_server(reply) as url:
        error = await failure(url)
    assert not error.answered


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("", "Invalid JSON"),
        ("<html>", "Invalid JSON"),
        ("[]", "body"),
        ("{}", "status"),
        ('{"status": "healthy"}', "timestamp"),
        ('{"status": "healthy", "timestamp": "2026-01-01T00:00:00"}', "timestamp"),
        ('{"status": 3, "timestamp": "2026-01-01T00:00:00Z"}', "status"),
        ('{"status": "healthy", "timestamp": "2026-01-01T00:00:00Z", "components": []}', "components"),
    ],
)
async def test_an_answer_of_another_shape_is_a_failure_that_says_where(body: str, fault: str) -> None:
    bridge = Neighbour()
    bridge.answers_body("/health", body)
    async with serving(bridge):
        error = await failure(bridge.url)
    assert str(error).startswith("/health: invalid answer")
    assert fault in str(error)
    assert not error.answered


async def test_an_answer_of_more_than_four_megabytes_is_cut_off() -> None:
    bridge = Neighbour()

    async def flood(_: Request) -> Response:
        async def parts() -> Any:
            for _ in range(80):
                yield b" " * 65_536

        return StreamingResponse(parts())

    bridge.answers["/health"] = flood
    async with serving(bridge):
        error = await failure(bridge.url)
    assert str(error) == f"the answer is larger than {probes.LARGEST_ANSWER_BYTES} bytes"


async def test_a_stream_is_not_read_when_only_its_status_matters() -> None:
    bridge = Neighbour()

    async def stream(request: Request) -> Response:
        async def parts() -> Any:
            yield b"data: first\n\n"
            while (await request.receive())["type"] != "http.disconnect":
                pass

        return StreamingResponse(parts(), media_type="text/event-stream")

    bridge.answers["/api/v1/stream"] = stream
    async with serving(bridge), calling(bridge.url) as client:
        reply = await probes.call(client, "/api/v1/stream", read_body=False)
    assert (reply.status, reply.body) == (200, b"")


def test_an_error_never_repeats_a_secret() -> None:
    error = CallError(f"https://api.telegram.org/bot{TOKEN}/getMe broke, redis://u:hunter2@redis did too")
    assert TOKEN not in str(error)
    assert "hunter2" not in str(error)


async def test_prometheus_is_asked_for_its_active_targets_and_its_alerts() -> None:
    there = prometheus([target(), target("down")], [alert("Watchdog", "none")])
    async with serving(there), calling(there.url) as client:
        answers = await probes.prometheus(client)
    assert [each.health for each in answers.targets.data.active] == ["up", "down"]
    assert answers.alerts.data.alerts[0].labels["alertname"] == "Watchdog"
    queries = {request.url.path: request.url.query for request in there.requests}
    assert queries["/api/v1/targets"] == "state=active"


async def test_alertmanager_is_asked_for_its_status_alerts_and_silences() -> None:
    there = alertmanager()
    async with serving(there), calling(there.url) as client:
        answers = await probes.alertmanager(client)
    assert answers.status.cluster.status == "ready"
    assert len(answers.alerts) == len(answers.silences) == 2


async def test_grafana_is_asked_for_its_health() -> None:
    there = Neighbour()
    there.answers_json("/api/health", {"database": "ok", "version": "11.6.0", "commit": "x"})
    async with serving(there), calling(there.url) as client:
        assert (await probes.grafana(client)).version == "11.6.0"


@pytest.mark.parametrize(("data", "known"), [(["bridge"], ("bridge",)), (None, None)])
async def test_jaeger_is_asked_for_the_services_it_knows(data: Any, known: Any) -> None:
    there = Neighbour()
    there.answers_json("/api/services", {"data": data, "total": 1})
    async with serving(there), calling(there.url) as client:
        assert (await probes.jaeger(client)).data == known


Probe = Callable[[httpx.AsyncClient], Awaitable[object]]


@pytest.mark.parametrize(
    ("probe", "path"),
    [
        (probes.prometheus, "/api/v1/targets"),
        (probes.alertmanager, "/api/v2/status"),
        (probes.grafana, "/api/health"),
        (probes.jaeger, "/api/services"),
    ],
)
async def test_an_answer_that_is_not_theirs_is_a_failure_with_its_path(probe: Probe, path: str) -> None:
    impostor = Neighbour()
    everything = [
        "/api/v1/targets",
        "/api/v1/alerts",
        "/api/v2/status",
        "/api/v2/alerts",
        "/api/v2/silences",
        "/api/health",
        "/api/services",
    ]
    for each in everything:
        impostor.answers_json(each, "hello")
    async with serving(impostor), calling(impostor.url) as client:
        with pytest.raises(CallError, match=f"{path}.*: invalid answer"):
            await probe(client)


@pytest.mark.parametrize("probe", [probes.prometheus, probes.alertmanager, probes.grafana, probes.jaeger])
async def test_a_program_that_refuses_is_there(probe: Probe) -> None:
    guarded = Neighbour()
    async with serving(guarded), calling(guarded.url) as client:
        with pytest.raises(CallError) as raised:
            await probe(client)
    assert raised.value.answered
