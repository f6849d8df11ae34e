import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from services.kit.http_client import client
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from tests.kit.apps import LIMIT, Live, live

PATHS = ("/things", "/fast")


async def chunks(size: int, piece: int = 256) -> AsyncIterator[bytes]:
    for _ in range(size // piece):
        yield b"x" * piece


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_over_the_limit_is_refused_by_its_length(path: str, service: Live) -> None:
    answer = await service.http.post(path, content=b"x" * (LIMIT + 1))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == f"The body may have {LIMIT} bytes (MAX_BODY_BYTES)."


@pytest.mark.parametrize("path", PATHS)
async def test_a_body_without_a_length_is_refused_as_it_grows(path: str, service: Live) -> None:
    answer = await service.http.post(path, content=chunks(2 * LIMIT))
    assert answer.status_code == 413
    assert answer.json()["title"] == "Content Too Large"


@pytest.mark.parametrize("path", PATHS)
async def test_a_refused_body_is_the_client_s_error_in_the_metrics_too(path: str, service: Live) -> None:
    await service.http.post(path, content=b"x" * (LIMIT + 1))
    await service.http.post(path, content=chunks(2 * LIMIT))
    samples = await service.samples()
    assert samples[("http_requests_total", (("handler", path), ("method", "POST"), ("status", "4xx")))] == 2
    assert samples[("http_requests_errors_total", (("handler", path), ("method", "POST")))] == 0


async def test_a_body_of_the_limit_is_taken(service: Live) -> None:
    assert (await service.http.post("/fast", content=b"x" * LIMIT)).text == str(LIMIT)
    assert (await service.http.post("/fast", content=chunks(LIMIT))).text == str(LIMIT)


@pytest.mark.parametrize("path", PATHS)
async def test_a_client_that_sends_all_before_it_reads_hears_the_refusal(path: str, service: Live) -> None:
    """As curl and most clients do: a connection closed on them while they send is an error of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(service.running.url.rpartition(":")[2]))
    body = b"x" * (6 * LIMIT)
    head = f"POST {path} HTTP/1.1\r\nHost: test\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    for start in range(0, len(body), 512):
        writer.write(body[start : start + 512])
        await writer.drain()
    assert (await reader.readline()).startswith(b"HTTP/1.1 413")
    assert b'"status":413' in await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_the_connection_lives_on_after_a_refusal(service: Live) -> None:
    assert (await service.http.post("/fast", content=b"x" * (LIMIT + 1))).status_code == 413
    assert (await service.http.post("/fast", content=b"x")).status_code == 202


async def test_a_client_that_leaves_within_its_body_is_no_error_of_the_server(service: Live) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(service.running.url.rpartition(":")[2]))
    writer.write(b"POST /fast HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    labels = {"handler": "/fast", "method": "POST"}
    async with asyncio.timeout(10):
        while not await service.value("http_requests_total", status="4xx", **labels):
            pass  # each look is a request, so the server gets its turn
    assert await service.value("http_requests_errors_total", **labels) == 0


async def test_handlers_are_labelled_by_their_template(service: Live) -> None:
    for thing in range(5):
        await service.http.get(f"/things/{thing}")
    labels = {"method": "GET", "handler": "/things/{thing_id}"}
    assert await service.value("http_requests_total", status="2xx", **labels) == 5
    assert await service.value("http_request_duration_seconds_count", **labels) == 5


async def test_routes_behind_a_prefix_are_labelled_in_full(service: Live) -> None:
    await service.http.get("/guarded/thing")
    assert (
        await service.value("http_requests_total", method="GET", handler="/guarded/thing", status="4xx") == 1
    )


async def test_what_is_no_route_makes_one_series_only(service: Live) -> None:
    for path in ("/wp-login.php", "/.env", "/things/1/2/3"):
        await service.http.get(path)
        await service.http.delete(path)
    assert await service.value("http_requests_total", method="none", handler="none", status="4xx") == 6


async def test_odd_methods_on_a_route_make_no_series_of_their_own(service: Live) -> None:
    before = set(await service.samples())
    for method in ("PROPFIND", "PURGE", "OPTIONS", "SEARCH"):
        assert (await service.http.request(method, "/things/1")).status_code == 405
    after = await service.samples()
    assert set(after) - before <= {(name, labels) for name, labels in after if ("method", "none") in labels}


async def test_a_fast_route_is_counted_like_other_routes(service: Live) -> None:
    await service.http.post("/fast", content=b"x")
    await service.http.post("/fast?problem=1")
    await service.http.post("/fast?fail=1")
    labels = {"method": "POST", "handler": "/fast"}
    for status in ("2xx", "4xx", "5xx"):
        assert await service.value("http_requests_total", status=status, **labels) == 1
    assert await service.value("http_requests_errors_total", **labels) == 1
    assert await service.value("http_request_duration_seconds_count", **labels) == 3


async def test_other_methods_on_a_fast_route_go_the_common_way(service: Live) -> None:
    assert (await service.http.get("/fast")).status_code == 405


async def test_failures_are_counted_as_errors(service: Live) -> None:
    await service.http.get("/fails")
    await service.http.get("/problem")
    samples = await service.samples()
    errors = {
        dict(labels)["handler"]: value
        for (name, labels), value in samples.items()
        if name == "http_requests_errors_total" and value
    }
    assert errors == {"/fails": 1}


async def test_every_series_of_a_watched_route_is_there_before_its_first_request(service: Live) -> None:
    samples = await service.samples()
    for status in ("2xx", "4xx", "5xx"):
        assert (
            samples[("http_requests_total", (("handler", "/things"), ("method", "POST"), ("status", status)))]
            == 0
        )
        assert (
            samples[("http_requests_total", (("handler", "/fast"), ("method", "POST"), ("status", status)))]
            == 0
        )


async def test_the_series_of_other_routes_are_made_by_their_first_request(service: Live) -> None:
    labels = {"method": "GET", "handler": "/plain", "status": "4xx"}
    assert await service.value("http_requests_total", **labels) is None
    await service.http.get("/plain")
    assert await service.value("http_requests_total", **labels) == 1


async def test_routes_that_are_not_watched_share_one_latency_series(service: Live) -> None:
    for path in ("/plain", "/problem"):
        await service.http.get(path)
    durations = {
        dict(labels)["handler"]
        for name, labels in await service.samples()
        if name == "http_request_duration_seconds_count"
    }
    assert durations == {"/things", "/things/{thing_id}", "/fast", "none", "other"}
    labels = {"method": "GET", "handler": "other"}
    assert await service.value("http_request_duration_seconds_count", **labels) == 2


async def test_the_metrics_page_does_not_count_itself(service: Live) -> None:
    for _ in range(3):
        await service.samples()
    assert not [labels for _, labels in await service.samples() if ("handler", "/metrics") in labels]


async def test_metrics_speak_openmetrics_to_who_asks_for_it(service: Live) -> None:
    answer = await service.http.get(
        "/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"}
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {family.name for family in text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call] # published without types
    assert {"http_requests", "auth_failed_attempts", "process_cpu_usage_percent"} <= names


# The client that services call others with.


async def test_calls_are_counted_by_provider_endpoint_and_status(service: Live) -> None:
    telemetry = Telemetry("caller", ServiceSettings())
    async with client(telemetry, "things", service.running.url) as http:
        await http.get("/things/1", extensions={"endpoint": "/things/{id}"})
        await http.get("/things/2", extensions={"endpoint": "/things/{id}"})
        await http.get("/problem")
    value = telemetry.registry.get_sample_value
    calls = {"provider": "things", "endpoint": "/things/{id}"}
    assert value("external_api_calls_total", calls | {"status_code": "200"}) == 2
    assert value("external_api_duration_seconds_count", calls) == 2
    assert (
        value(
            "external_api_calls_total", {"provider": "things", "endpoint": "/problem", "status_code": "409"}
        )
        == 1
    )


async def test_a_call_that_nobody_answers_is_counted_as_none(tmp_path: Path) -> None:
    telemetry = Telemetry("caller", ServiceSettings())
    async with live(tmp_path) as gone:
        url = gone.running.url
    async with client(telemetry, "things", url) as http:
        with pytest.raises(httpx.ConnectError):
            await http.get("/things/1")
    labels = {"provider": "things", "endpoint": "/things/1", "status_code": "none"}
    assert telemetry.registry.get_sample_value("external_api_calls_total", labels) == 1


async def test_the_key_goes_along(service: Live) -> None:
    telemetry = Telemetry("caller", ServiceSettings())
    async with client(telemetry, "things", service.running.url, key="cct_the-key-of-the-kit-tests") as http:
        assert (await http.get("/guarded/thing")).status_code == 200


async def test_the_trace_is_handed_on_to_whoever_is_called(service: Live) -> None:
    telemetry = Telemetry("caller", ServiceSettings())
    async with client(telemetry, "things", service.running.url) as http:
        with telemetry.tracer.start_as_current_span("work") as span:
            header = (await http.get("/traceparent")).json()
    context = TraceContext.parse(header)
    assert context is not None
    assert context.trace_id == span.get_span_context().trace_id
    assert context.sampled
