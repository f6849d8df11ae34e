import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi import Request
from prometheus_client import CollectorRegistry
from starlette.responses import JSONResponse, Response

from services.contracts.health import CheckType, ControlStatus
from services.kit.clock import rfc3339
from services.kit.health import Health, Level, Measurement
from services.kit.telemetry.telemetry import Telemetry
from services.mcp_health import compliance
from services.mcp_health.audit import TRACE_PATIENCE_SECONDS, Auditor, from_checks
from services.mcp_health.authority import Authority, Check, CheckResult
from services.mcp_health.check_registry import CheckRegistry
from services.mcp_health.compliance import Finding, Question, Standard
from services.mcp_health.metrics import Metrics
from services.mcp_health.settings import McpHealthSettings
from tests.mcp_health.neighbours import (
    KEY,
    NOW,
    Neighbour,
    health,
    prometheus,
    service_of_ours,
    serving,
    target,
    unused_port,
)
from tests.servers import ManualClock
from tests.span_recorder import SpanRecorder

INTERVAL = 300.0


class World:
    """An auditor of three services, with a clock that a test moves."""

    def __init__(self, settings: McpHealthSettings, sink: SpanRecorder | None) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.telemetry = Telemetry("mcp-health", settings, sink)
        self.metrics_registry: CollectorRegistry = self.telemetry.registry
        self.health = Health(self.clock)
        self.registry = CheckRegistry(settings, self.telemetry, self.clock)
        checks = self.registry.checks()
        metrics = Metrics(self.metrics_registry, [check.id for check in checks], self.registry.clients)
        self.authority = Authority(
            checks, health=self.health, clock=self.clock, metrics=metrics, every=5.0, timeout=3.0
        )
        self.auditor = Auditor(
            settings=settings,
            telemetry=self.telemetry,
            clock=self.clock,
            registry=self.registry,
            authority=self.authority,
            metrics=metrics,
        )

    async def check(self) -> None:
        for component in self.health.components.values():
            await self.health.measure(component)

    async def audit(self, question: Question, service: str = "") -> Finding:
        await self.auditor.measure()
        return self.auditor.findings[f"{question}.{service}" if service else question]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.metrics_registry.get_sample_value(name, labels)


@pytest.fixture
def ours() -> dict[str, Neighbour]:
    return {name: service_of_ours() for name in ("bridge", "alert_relay", "dashboard")}


@asynccontextmanager
async def living(
    data: Path,
    ours: dict[str, Neighbour],
    sink: SpanRecorder | None = None,
    **more: Any,
) -> AsyncIterator[World]:
    """The world while the services run; more settings can name further neighbours by URL."""
    async with serving(*ours.values()):
        urls = {f"{name}_url": service.url for name, service in ours.items()}
        world = World(McpHealthSettings(data_dir=data, **{**urls, **more}), sink)
        yield world
        await world.registry.close()
        world.telemetry.close()


def probe_calls(service: Neighbour) -> int:
    return service.paths().count("/api/v1/messages")


async def test_doors_that_refuse_pass_for_each_service(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours) as world:
        for service in ours:
            found = await world.audit(Question.ACCESS, service)
            assert found.status is ControlStatus.PASSED
        for service in ("bridge", "alert_relay"):
            assert world.auditor.findings[f"refusals.{service}"].status is ControlStatus.PASSED


async def test_doors_are_tried_once_in_the_interval_for_every_try_counts_as_an_attack(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        for _ in range(5):
            await world.auditor.measure()
            world.clock.advance(INTERVAL / 5 - 1)
        assert probe_calls(ours["bridge"]) == 2
        world.clock.advance(5)
        await world.auditor.measure()
        assert probe_calls(ours["bridge"]) == 4


async def test_the_tries_stay_below_the_alert_on_brute_force(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    shortest = McpHealthSettings.model_fields["compliance_interval_seconds"].metadata[0].ge
    async with living(tmp_path, ours, compliance_interval_seconds=shortest) as world:
        for _ in range(60):  # five minutes of rounds every five seconds
            await world.auditor.measure()
            world.clock.advance(5)
        assert probe_calls(ours["bridge"]) <= 10


async def test_a_service_that_is_not_up_yet_is_tried_again_in_the_next_round(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    del ours["bridge"]
    async with living(tmp_path, ours, bridge_url=await unused_port()) as world:
        found = await world.audit(Question.ACCESS, "bridge")
        assert found.status is ControlStatus.UNKNOWN
        assert "cannot connect" in found.evidence["reason"]
        late = service_of_ours()
        async with serving(late):
            world.registry.clients["bridge"].base_url = late.url
            world.clock.advance(5)
            assert (await world.audit(Question.ACCESS, "bridge")).status is ControlStatus.PASSED


async def test_what_was_measured_of_a_service_that_went_away_grows_too_old(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        await world.auditor.measure()
        world.registry.clients["bridge"].base_url = await unused_port()
        world.clock.advance(INTERVAL)
        assert (await world.audit(Question.ACCESS, "bridge")).status is ControlStatus.PASSED
        world.clock.advance(2 * INTERVAL + 1)
        await world.auditor.measure()
        (row,) = [
            row
            for row in world.auditor.assessment().of(Standard.HIPAA)
            if row.control.question is Question.ACCESS
        ]
        assert row.status is ControlStatus.UNKNOWN
        assert "too old" in row.evidence["bridge"]["reason"]


async def test_the_key_s_file_is_that_of_the_data_folder(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours) as world:
        assert (await world.audit(Question.KEY_FILE)).status is ControlStatus.UNKNOWN
        (tmp_path / "api_key").write_text(KEY)
        (tmp_path / "api_key").chmod(0o600)
        assert (await world.audit(Question.KEY_FILE)).status is ControlStatus.PASSED
        (tmp_path / "api_key").chmod(0o644)
        assert (await world.audit(Question.KEY_FILE)).status is ControlStatus.FAILED


async def test_or_the_file_that_the_settings_name(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    secret.chmod(0o640)
    async with living(tmp_path, ours, api_key=KEY, api_key_file=secret) as world:
        found = await world.audit(Question.KEY_FILE)
        assert (found.status, found.evidence) == (ControlStatus.PASSED, {"mode": "0640"})


async def test_a_key_from_the_environment_is_unknown(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours, api_key=KEY) as world:
        assert (await world.audit(Question.KEY_FILE)).status is ControlStatus.UNKNOWN


async def test_the_real_sockets_of_the_services_are_looked_at(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        found = await world.audit(Question.LISTENERS)
    assert found.status is ControlStatus.PASSED
    assert found.evidence["listen_on"] == {name: ["127.0.0.1"] for name in ours}


async def test_a_sandbox_that_others_reach_fails(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    """It has no login."""
    with socket.create_server(("0.0.0.0", 0)) as everywhere:
        url = f"http://127.0.0.1:{everywhere.getsockname()[1]}"
        async with living(tmp_path, ours, sandbox_url=url) as world:
            found = await world.audit(Question.LISTENERS)
    assert found.status is ControlStatus.FAILED
    assert found.evidence["listen_on"]["telegram_sandbox"] == ["0.0.0.0"]


async def test_the_store_is_as_the_bridge_said_in_its_last_answer(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    database = {"status": "healthy", "dialect": "sqlite", "synchronous": "full"}
    ours["bridge"].answers_json("/health", health(database=database))
    async with living(tmp_path, ours) as world:
        assert (await world.audit(Question.STORE)).status is ControlStatus.UNKNOWN  # not asked yet
        await world.check()
        assert (await world.audit(Question.STORE)).status is ControlStatus.PASSED
        ours["bridge"].answers_json("/health", {}, 500)
        await world.check()
        assert (await world.audit(Question.STORE)).status is ControlStatus.UNKNOWN


async def test_a_finding_stays_while_the_next_answer_is_on_its_way(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    report = health(database={"status": "healthy", "dialect": "sqlite", "synchronous": "full"})
    ours["bridge"].answers_json("/health", report)
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def slow(_: Request) -> Response:
        entered.set()
        await let_go.wait()
        return JSONResponse(report)

    async with living(tmp_path, ours) as world:
        await world.check()
        ours["bridge"].answers["/health"] = slow
        checking = asyncio.create_task(world.check())
        await entered.wait()
        found = await world.audit(Question.STORE)
        let_go.set()
        await checking
    assert found.status is ControlStatus.PASSED


OUR_JOBS = ("bridge", "mcp-health", "alert-relay", "dashboard")


async def test_monitoring_passes_while_every_target_is_up(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    there = prometheus([target(job=job) for job in OUR_JOBS], [])
    async with serving(there), living(tmp_path, ours, prometheus_url=there.url) as world:
        assert (await world.audit(Question.MONITORING)).status is ControlStatus.UNKNOWN
        await world.check()
        assert (await world.audit(Question.MONITORING)).status is ControlStatus.PASSED
        there.answers_json("/api/v1/targets", {"data": {"activeTargets": [target("down")]}})
        await world.check()
        found = await world.audit(Question.MONITORING)
        assert found.status is ControlStatus.FAILED
        assert found.evidence["scrape_targets"]["down"] == 1


async def test_a_prometheus_that_does_not_scrape_every_service_fails_and_names_them(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    there = prometheus([target(job="prometheus"), target(job="bridge")], [])
    async with serving(there), living(tmp_path, ours, prometheus_url=there.url) as world:
        await world.check()
        found = await world.audit(Question.MONITORING)
    assert found.status is ControlStatus.FAILED
    assert found.evidence["missing_jobs"] == ["alert-relay", "dashboard", "mcp-health"]


def relay_with_watchdog(status: str, **measured: Any) -> dict[str, Any]:
    return health(watchdog={"status": status, "last_check": rfc3339(NOW), **measured})


async def test_the_alert_path_passes_only_while_the_watchdog_arrives(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        await world.check()
        never_came = await world.audit(Question.ALERT_PATH)
        assert never_came.status is ControlStatus.UNKNOWN
        assert never_came.evidence["alert_relay"] == "healthy"
        for status, expected in (
            ("healthy", ControlStatus.PASSED),
            ("unhealthy", ControlStatus.FAILED),
            ("unknown", ControlStatus.UNKNOWN),
        ):
            ours["alert_relay"].answers_json("/health", relay_with_watchdog(status, age_seconds=12.5))
            await world.check()
            found = await world.audit(Question.ALERT_PATH)
            assert found.status is expected
            assert found.evidence["watchdog_age_seconds"] == 12.5


async def test_an_alert_relay_that_fails_breaks_the_alert_path(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        ours["alert_relay"].answers_json("/health", health("critical", watchdog="healthy"), 503)
        await world.check()
        assert (await world.audit(Question.ALERT_PATH)).status is ControlStatus.FAILED


async def test_an_alertmanager_that_is_set_up_and_gone_breaks_the_alert_path(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    ours["alert_relay"].answers_json("/health", relay_with_watchdog("healthy", age_seconds=1.0))
    async with living(tmp_path, ours, alertmanager_url=await unused_port()) as world:
        await world.check()
        assert (await world.audit(Question.ALERT_PATH)).status is ControlStatus.FAILED


class TestTraces:
    def jaeger(self) -> Neighbour:
        """Has exactly the traces that a test puts in ``kept``."""
        there = Neighbour()
        there.answers_json("/api/services", {"data": []})
        return there

    def keeps(self, jaeger: Neighbour, sink: SpanRecorder) -> str:
        (*_, span) = sink.get_finished_spans()
        context = span.get_span_context()
        assert context is not None
        trace_id = f"{context.trace_id:032x}"
        jaeger.answers_json(f"/api/traces/{trace_id}", {"data": [{"traceID": trace_id}]})
        return trace_id

    async def test_without_jaeger_or_without_a_collector_it_is_unknown(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        async with living(tmp_path, ours) as world:
            found = await world.audit(Question.TRACES)
            assert found.evidence == {"reason": "not configured (JAEGER_URL)"}
        async with living(tmp_path, ours, jaeger_url="http://127.0.0.1:16686") as world:
            found = await world.audit(Question.TRACES)
            assert found.evidence == {"reason": "not configured (OTEL_EXPORTER_OTLP_ENDPOINT)"}

    async def test_a_span_that_was_sent_and_is_found_passes(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        sink, jaeger = SpanRecorder(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            assert (await world.audit(Question.TRACES)).status is ControlStatus.UNKNOWN
            trace_id = self.keeps(jaeger, sink)
            world.clock.advance(5)
            found = await world.audit(Question.TRACES)
            assert found.status is ControlStatus.PASSED
            assert found.evidence == {"trace_id": trace_id, "sent_seconds_ago": 5.0}

    async def test_a_span_that_is_not_there_within_a_minute_fails(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        sink, jaeger = SpanRecorder(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            await world.auditor.measure()
            world.clock.advance(TRACE_PATIENCE_SECONDS - 1)
            assert (await world.audit(Question.TRACES)).status is ControlStatus.UNKNOWN
            world.clock.advance(2)
            assert (await world.audit(Question.TRACES)).status is ControlStatus.FAILED

    async def test_a_new_span_is_sent_in_every_interval_and_the_old_finding_stands_meanwhile(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        sink, jaeger = SpanRecorder(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            await world.auditor.measure()
            first = self.keeps(jaeger, sink)
            world.clock.advance(INTERVAL)
            assert (await world.audit(Question.TRACES)).evidence["trace_id"] == first
            world.clock.advance(5)
            assert (await world.audit(Question.TRACES)).evidence["trace_id"] == first
            second = self.keeps(jaeger, sink)
            assert second != first
            assert (await world.audit(Question.TRACES)).evidence["trace_id"] == second

    async def test_a_jaeger_that_is_gone_tells_nothing(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        async with living(tmp_path, ours, SpanRecorder(), jaeger_url=await unused_port()) as world:
            await world.auditor.measure()
            world.clock.advance(3600)
            found = await world.audit(Question.TRACES)
            assert found.status is ControlStatus.UNKNOWN
            assert found.evidence["reason"].startswith("jaeger: cannot connect")

    async def test_the_id_is_no_label_of_a_metric(self, tmp_path: Path, ours: dict[str, Neighbour]) -> None:
        sink, jaeger = SpanRecorder(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            await world.auditor.measure()
            await world.auditor.measure()
            calls = world.sample(
                "external_api_calls_total", provider="jaeger", endpoint="/api/traces/{id}", status_code="404"
            )
            assert calls == 1


class TestScores:
    async def test_there_is_no_sample_before_anything_is_measured(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        async with living(tmp_path, ours) as world:
            for standard in Standard:
                assert world.sample("compliance_score", standard=standard) is None
                controls = len(world.auditor.assessment().of(standard))
                counted = world.sample(
                    "cctelegram_compliance_controls", standard=standard, status=ControlStatus.UNKNOWN
                )
                assert counted == controls

    async def test_a_score_appears_with_the_first_measurement_and_matches_the_report(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        async with living(tmp_path, ours) as world:
            await world.check()
            await world.auditor.measure()
            for standard in Standard:
                rows = world.auditor.assessment().of(standard)
                assert world.sample("compliance_score", standard=standard) == compliance.score(rows)

    async def test_an_open_door_lowers_every_score_that_asks_for_it(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        ours["bridge"].answers_json("/api/v1/messages", [])
        async with living(tmp_path, ours) as world:
            await world.check()
            await world.auditor.measure()
            for standard in Standard:
                score = world.sample("compliance_score", standard=standard)
                assert score is not None
                assert score < 100

    def test_a_score_goes_when_nothing_is_measured_any_more(self) -> None:
        registry = CollectorRegistry()
        metrics = Metrics(registry, [], [])
        metrics.standard("GDPR", 80.0, {"passed": 4, "failed": 1, "unknown": 0})
        assert registry.get_sample_value("compliance_score", {"standard": "GDPR"}) == 80.0
        metrics.standard("GDPR", None, {"passed": 0, "failed": 0, "unknown": 5})
        assert registry.get_sample_value("compliance_score", {"standard": "GDPR"}) is None
        metrics.standard("GDPR", None, {"passed": 0, "failed": 0, "unknown": 5})


async def test_one_service_s_odd_answer_does_not_keep_the_others_from_being_measured(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    ours["bridge"].answers_body("/openapi.json", b'{"paths": 7}')
    async with living(tmp_path, ours) as world:
        found = await world.audit(Question.ACCESS, "bridge")
        assert found.status is ControlStatus.UNKNOWN
        assert world.auditor.findings["access.dashboard"].status is ControlStatus.PASSED


def result(check_id: str, level: Level, last_check: float | None = NOW) -> CheckResult:
    async def probe() -> Measurement:
        return Measurement(level)

    return CheckResult(Check(check_id, check_id, CheckType.SYSTEM, probe), level, {}, last_check=last_check)


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([Level.HEALTHY, Level.HEALTHY], ControlStatus.PASSED),
        ([Level.HEALTHY, Level.UNKNOWN], ControlStatus.UNKNOWN),
        ([Level.DEGRADED, Level.HEALTHY], ControlStatus.FAILED),
        ([Level.DEGRADED, Level.UNKNOWN], ControlStatus.FAILED),
        ([Level.UNKNOWN], ControlStatus.UNKNOWN),
        ([], ControlStatus.UNKNOWN),
    ],
)
def test_health_checks_as_a_measurement(levels: list[Level], status: ControlStatus) -> None:
    found = from_checks([result(f"check{n}", level) for n, level in enumerate(levels)], {Level.HEALTHY})
    assert found.status is status


def test_a_measurement_from_checks_is_as_old_as_the_oldest() -> None:
    results = [result("memory", Level.HEALTHY, NOW), result("disk", Level.HEALTHY, NOW - 30)]
    assert from_checks(results, {Level.HEALTHY}).measured_at == NOW - 30
