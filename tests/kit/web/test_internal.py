"""Requests of the suite to itself: marked, believed by the suite's secret alone, and counted apart."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags
from pydantic import SecretStr

from services.kit import http_client
from services.kit.http_client import InternalMark
from services.kit.settings import StartError
from services.kit.telemetry import sdk_processor
from services.kit.telemetry.sdk_processor import QueueSpanProcessor
from services.kit.web.auth import new_key
from services.kit.web.internal import InternalRequests, own_mark
from services.kit.web.login_blocker import FAILURES_BEFORE_BLOCK
from tests.kit.apps import KEY, Live, kit_settings, live
from tests.span_recorder import SpanRecorder

SECRET = "cct_internal-secret-of-the-tests"
MARK = InternalMark("dashboard", SECRET)
FORGED = InternalMark("dashboard", "cct_another-internal-secret").headers


def scope(headers: dict[str, str]) -> dict[str, object]:
    return {"headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()]}


@pytest.fixture
async def marked(tmp_path: Path) -> AsyncIterator[tuple[Live, SpanRecorder]]:
    """The tests' service with the suite's secret, and its spans."""
    spans = SpanRecorder()
    async with live(tmp_path, spans, internal_key=SecretStr(SECRET)) as service:
        yield service, spans


# Who is believed


def test_a_mark_with_the_secret_names_its_sender(tmp_path: Path) -> None:
    requests = InternalRequests(kit_settings(tmp_path, internal_key=SecretStr(SECRET)))
    assert requests.sender(scope(MARK.headers)) == "dashboard"


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_no_other_mark_is_believed(service: str, key: str) -> None:
    requests = InternalRequests(kit_settings(Path("nowhere"), internal_key=SecretStr(SECRET)))
    headers = [
        (b"x-cctelegram-internal", service.encode("latin-1")),
        (b"x-cctelegram-internal-key", key.encode("latin-1")),
    ]
    assert requests.sender({"headers": headers}) is None
    assert requests.sender({"headers": headers[:1]}) is None
    assert requests.sender({"headers": headers[1:]}) is None


@pytest.mark.parametrize("service", ["", "Dash Board", "a" * 33, "<script>"])
def test_a_name_that_is_no_service_is_not_believed(service: str, tmp_path: Path) -> None:
    requests = InternalRequests(kit_settings(tmp_path, internal_key=SecretStr(SECRET)))
    assert requests.sender(scope(InternalMark(service, SECRET).headers)) is None


def test_services_of_one_data_folder_share_a_secret_that_the_first_sender_makes(tmp_path: Path) -> None:
    settings = kit_settings(tmp_path)
    requests = InternalRequests(settings)
    assert requests.sender(scope(MARK.headers)) is None
    assert list(tmp_path.iterdir()) == []
    mark = own_mark(settings, "mcp-health")
    assert requests.sender(scope(mark.headers)) == "mcp-health"
    assert own_mark(settings, "dashboard").key == mark.key
    assert (tmp_path / "internal_key").stat().st_mode & 0o777 == 0o600
    assert mark.key not in repr(mark)


def test_a_data_folder_that_cannot_hold_the_secret_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StartError, match=r"^DATA_DIR: cannot keep the internal key in .*/data: "):
        own_mark(kit_settings(tmp_path / "data"), "dashboard")


# What is counted


async def test_marked_requests_are_counted_apart_and_have_no_latency(
    marked: tuple[Live, SpanRecorder],
) -> None:
    service, _ = marked
    for path in ("/things/1", "/fails"):
        await service.http.get(path, headers=MARK.headers)
    await service.http.post("/fast", headers=MARK.headers)
    for method, status in (("GET", "2xx"), ("GET", "5xx"), ("POST", "2xx")):
        assert (
            await service.value("http_requests_total", method=method, handler="internal", status=status) == 1
        )
    samples = await service.samples()
    others = {
        labels: value
        for (name, labels), value in samples.items()
        if name in ("http_requests_total", "http_request_duration_seconds_count")
        and ("handler", "internal") not in labels
    }
    assert set(others.values()) == {0}


async def test_a_forged_mark_changes_nothing(marked: tuple[Live, SpanRecorder]) -> None:
    service, spans = marked
    await service.http.get("/things/1", headers=FORGED)
    route = {"method": "GET", "handler": "/things/{thing_id}"}
    assert await service.value("http_requests_total", status="2xx", **route) == 1
    assert await service.value("http_request_duration_seconds_count", **route) == 1
    assert [span.name for span in spans.get_finished_spans()] == ["GET /things/{thing_id}"]


@pytest.mark.parametrize("path", ["/things/1?wait=55", "/things/1?page=1&wait=0.1"])
async def test_a_long_poll_is_counted_apart_and_has_no_latency(
    path: str, marked: tuple[Live, SpanRecorder]
) -> None:
    service, _ = marked
    await service.http.get(path)
    assert await service.value("http_requests_total", method="GET", handler="waiting", status="2xx") == 1
    route = {"method": "GET", "handler": "/things/{thing_id}"}
    assert await service.value("http_requests_total", status="2xx", **route) == 0
    assert await service.value("http_request_duration_seconds_count", **route) == 0


async def test_a_parameter_that_only_ends_in_wait_is_no_long_poll(marked: tuple[Live, SpanRecorder]) -> None:
    service, _ = marked
    await service.http.get("/things/1?await=1")  # refused as unknown
    route = {"method": "GET", "handler": "/things/{thing_id}"}
    assert await service.value("http_requests_total", status="4xx", **route) == 1


async def test_health_checks_are_counted_by_route_and_have_no_latency(
    marked: tuple[Live, SpanRecorder],
) -> None:
    service, _ = marked
    for path in ("/health", "/health/live", "/health/ready"):
        await service.http.get(path)
        assert await service.value("http_requests_total", method="GET", handler=path, status="2xx") == 1
    assert await service.value("http_request_duration_seconds_count", method="GET", handler="other") is None


# Failed logins


async def test_a_marked_request_with_a_wrong_key_is_a_refused_probe_and_blocks_nobody(
    marked: tuple[Live, SpanRecorder],
) -> None:
    service, _ = marked
    wrong = {"authorization": f"Bearer {new_key()}"}
    for _ in range(2 * FAILURES_BEFORE_BLOCK):
        answer = await service.http.get("/guarded/thing", headers=MARK.headers | wrong)
        assert answer.status_code == 401
    assert await service.value("auth_probes_refused_total") == 2 * FAILURES_BEFORE_BLOCK
    assert await service.value("auth_failed_attempts_total") == 0
    assert await service.value("suspicious_ip_blocks_total") == 0
    # A person at the same address has all ten attempts.
    statuses = [
        (await service.http.get("/guarded/thing", headers=wrong)).status_code
        for _ in range(FAILURES_BEFORE_BLOCK + 1)
    ]
    assert statuses == [401] * FAILURES_BEFORE_BLOCK + [429]


async def test_a_forged_mark_hides_no_failed_login(marked: tuple[Live, SpanRecorder]) -> None:
    service, _ = marked
    for _ in range(FAILURES_BEFORE_BLOCK):
        await service.http.get("/guarded/thing", headers=FORGED)
    assert await service.value("auth_failed_attempts_total") == FAILURES_BEFORE_BLOCK
    assert await service.value("auth_probes_refused_total") == 0
    assert await service.value("suspicious_ip_blocks_total") == 1


async def test_a_mark_admits_nobody(marked: tuple[Live, SpanRecorder]) -> None:
    service, _ = marked
    assert (await service.http.get("/guarded/thing", headers=MARK.headers)).status_code == 401
    key = {"authorization": f"Bearer {KEY}"}
    assert (await service.http.get("/guarded/thing", headers=MARK.headers | key)).status_code == 200


# Traces


async def test_of_marked_requests_only_failed_ones_are_traced_at_both_ends(
    marked: tuple[Live, SpanRecorder], tmp_path: Path
) -> None:
    service, served = marked
    sent = SpanRecorder()
    async with live(tmp_path / "caller", sent) as caller:
        telemetry = caller.parts.telemetry
        async with http_client.client(
            telemetry, "neighbour", str(service.http.base_url), internal=MARK
        ) as own:
            for path in ("/things/1", "/guarded/thing"):  # 200, 401
                await own.get(path)
            assert (served.get_finished_spans(), sent.get_finished_spans()) == ((), ())
            await own.get("/fails")
        (at_the_server,), (at_the_client,) = served.get_finished_spans(), sent.get_finished_spans()
        assert at_the_server.parent is not None
        assert at_the_client.context is not None
        assert at_the_server.parent.span_id == at_the_client.context.span_id
        async with http_client.client(telemetry, "neighbour", str(service.http.base_url)) as of_people:
            await of_people.get("/things/1")
        assert [len(spans.get_finished_spans()) for spans in (served, sent)] == [2, 2]


async def test_a_marked_call_without_an_answer_is_traced(tmp_path: Path) -> None:
    sent = SpanRecorder()
    async with live(tmp_path, sent) as caller:
        gone = "http://127.0.0.1:9"
        async with http_client.client(caller.parts.telemetry, "neighbour", gone, internal=MARK) as own:
            with pytest.raises(httpx.ConnectError):
                await own.get("/")
    assert [span.name for span in sent.get_finished_spans()] == ["GET"]


@pytest.mark.parametrize(
    ("seconds", "status", "exported"),
    [(0.999, 200, 0), (1.0, 200, 1), (0.1, 404, 0), (0.1, 500, 1), (0.1, None, 1)],
)
def test_a_marked_span_is_exported_where_it_is_slow_or_failed(
    seconds: float, status: int | None, exported: int
) -> None:
    recorder = SpanRecorder()
    attributes: dict[str, str | int | bool] = {sdk_processor.INTERNAL: True}
    if status is not None:
        attributes["http.status_code"] = status
    span = ReadableSpan(
        "GET",
        SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1)),
        attributes=attributes,
        status=Status(StatusCode.ERROR),
        start_time=0,
        end_time=int(seconds * 1e9),
    )
    QueueSpanProcessor(recorder).on_end(span)
    assert len(recorder.get_finished_spans()) == exported


async def test_the_secret_is_sent_by_marked_clients_alone(marked: tuple[Live, SpanRecorder]) -> None:
    service, _ = marked
    telemetry, url = service.parts.telemetry, str(service.http.base_url)
    async with (
        http_client.client(telemetry, "neighbour", url, internal=MARK) as own,
        http_client.client(telemetry, "stranger", url) as other,
    ):
        assert own.headers[http_client.INTERNAL_KEY_HEADER] == SECRET
        assert http_client.INTERNAL_KEY_HEADER not in other.headers
