import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from services.kit.health import Level
from services.kit.telemetry.telemetry import VERSION
from tests.kit.apps import KEY, Live, live
from tests.kit.conftest import Lines
from tests.span_recorder import SpanRecorder


async def until_measured(service: Live, level: Level) -> dict[str, Any]:
    """The health report once the background has measured the level; each look is a request."""
    async with asyncio.timeout(10):
        while True:
            report: dict[str, Any] = (await service.http.get("/health")).json()
            if report["components"]["house"]["status"] == level.value:
                return report


async def test_the_root_says_what_this_is_and_where_to_go_on(service: Live) -> None:
    about = (await service.http.get("/")).json()
    assert (about["name"], about["version"], about["summary"]) == ("kit-test", VERSION, "The tests' own.")
    for link in about["links"].values():
        assert (await service.http.get(link)).status_code in (200, 503)


async def test_health_tells_what_was_measured_and_when(service: Live) -> None:
    report = await until_measured(service, Level.HEALTHY)
    house = report["components"]["house"]
    assert report["status"] == "healthy"
    assert report["version"] == VERSION
    assert house["rooms"] == 3
    assert house["last_check"].endswith("Z")


async def test_a_critical_component_makes_health_503(service: Live) -> None:
    service.parts.measured = Level.CRITICAL
    await until_measured(service, Level.CRITICAL)
    answer = await service.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (503, "critical")


async def test_an_unhealthy_component_leaves_health_200_and_readiness_503(service: Live) -> None:
    service.parts.measured = Level.UNHEALTHY
    await until_measured(service, Level.UNHEALTHY)
    assert (await service.http.get("/health")).status_code == 200
    ready = await service.http.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json() == {"status": "not ready", "not_ready": {"house": "unhealthy"}}
    service.parts.measured = Level.DEGRADED
    await until_measured(service, Level.DEGRADED)
    assert (await service.http.get("/health/ready")).json() == {"status": "ready", "not_ready": {}}


async def test_liveness_asks_no_dependency(service: Live) -> None:
    service.parts.measured = Level.CRITICAL
    await until_measured(service, Level.CRITICAL)
    alive = await service.http.get("/health/live")
    assert (alive.status_code, alive.json()["status"]) == (200, "alive")


async def test_docs_and_the_openapi_document_need_no_key(service: Live) -> None:
    assert "swagger" in (await service.http.get("/docs")).text.lower()
    document = (await service.http.get("/openapi.json")).json()
    assert {"/things", "/fast", "/guarded/thing", "/health", "/metrics"} <= document["paths"].keys()
    assert document["paths"]["/guarded/thing"]["get"]["security"]
    assert "security" not in document["paths"]["/things"]["post"]


async def test_what_the_lifespan_opened_is_closed_at_the_end(tmp_path: Path) -> None:
    async with live(tmp_path) as service:
        opened = service.parts.opened
        assert opened == ["open"]
    assert opened == ["open", "closed"]


async def test_a_request_is_one_span_under_the_caller_s_named_by_its_route(tmp_path: Path) -> None:
    memory = SpanRecorder()
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with live(tmp_path, sink=memory) as service:
        await service.http.get("/things/5", headers={"traceparent": parent, "authorization": f"Bearer {KEY}"})
        await service.http.get("/health")
        await service.http.get("/metrics")
    (span,) = memory.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert span.attributes is not None
    assert f"{span.context.trace_id:032x}-{span.parent.span_id:016x}" in parent
    assert span.name == "GET /things/{thing_id}"
    assert span.attributes["http.route"] == "/things/{thing_id}"
    assert KEY not in span.to_json()


async def test_the_caller_s_choice_not_to_sample_is_kept(tmp_path: Path) -> None:
    memory = SpanRecorder()
    async with live(tmp_path, sink=memory) as service:
        parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"
        await service.http.get("/things/5", headers={"traceparent": parent})
    assert memory.get_finished_spans() == ()


async def test_a_failure_s_span_holds_no_secret_of_the_error(tmp_path: Path, lines: Lines) -> None:
    memory = SpanRecorder()
    async with live(tmp_path, sink=memory) as service:
        await service.http.get("/fails")
    (span,) = memory.get_finished_spans()
    assert span.attributes is not None
    told = json.loads(span.to_json())
    assert told["status"]["status_code"] == "ERROR"
    assert "AAbbCCddEEff" not in span.to_json()


async def test_a_service_whose_spans_nobody_takes_still_answers_and_stops(tmp_path: Path) -> None:
    nobody = "http://127.0.0.1:9"  # the discard port
    async with live(tmp_path, otel_exporter_otlp_endpoint=nobody) as service:
        assert (await service.http.get("/things/5")).status_code == 200


@pytest.mark.parametrize("name", ["process_cpu_usage_percent", "event_loop_lag_seconds"])
async def test_the_process_is_measured_while_it_runs(name: str, service: Live) -> None:
    value = await service.value(name)
    assert value is not None
    assert value >= 0
