from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.kit.health import Health, Level
from services.kit.health import Measurement as HealthMeasurement
from services.kit.telemetry.telemetry import Telemetry
from services.mcp_health import compliance
from services.mcp_health.audit import TRACE_PATIENCE_SECONDS, Auditor, from_rows
from services.mcp_health.authority import Authority, Check, CheckType, Row
from services.mcp_health.check_registry import Catalogue
from services.mcp_health.compliance import Measurement, Question, Standard, Status
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
from tests.told import Told

INTERVAL = 300.0


class World:
    """An auditor of three services, with a clock that a test moves."""

    def __init__(self, settings: McpHealthSettings, sink: Told | None) -> None:
        self.settings = settings
        self.clock = ManualClock()
        self.telemetry = Telemetry("mcp-health", settings, sink)
        self.registry: CollectorRegistry = self.telemetry.registry
        self.health = Health(self.clock)
        self.catalogue = Catalogue(settings, self.telemetry, self.clock)
        checks = self.catalogue.checks()
        metrics = Metrics(self.registry, [check.id for check in checks], self.catalogue.clients)
        self.authority = Authority(
            checks, health=self.health, clock=self.clock, metrics=metrics, every=5.0, timeout=3.0
        )
        self.auditor = Auditor(
            settings=settings,
            telemetry=self.telemetry,
            clock=self.clock,
            catalogue=self.catalogue,
            authority=self.authority,
            metrics=metrics,
        )

    async def check(self) -> None:
        for component in self.health.components.values():
            await self.health.measure(component)

    async def audit(self, question: Question, service: str = "") -> Measurement:
        await self.auditor.measure()
        return self.auditor.measurements[f"{question}.{service}" if service else question]

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def ours() -> dict[str, Neighbour]:
    return {name: service_of_ours() for name in ("bridge", "alert_relay", "dashboard")}


@asynccontextmanager
async def living(
    data: Path,
    ours: dict[str, Neighbour],
    sink: Told | None = None,
    **more: Any,
) -> AsyncIterator[World]:
    """The world while the services run; more settings may name further neighbours by their URL."""
    async with serving(*ours.values()):
        urls = {f"{name}_url": service.url for name, service in ours.items()}
        world = World(McpHealthSettings(data_dir=data, **{**urls, **more}), sink)
        yield world
        await world.catalogue.close()
        world.telemetry.close()


def knocks(service: Neighbour) -> int:
    return service.paths().count("/api/v1/messages")


async def test_doors_that_refuse_pass_for_each_service(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours) as world:
        for service in ours:
            found = await world.audit(Question.ACCESS, service)
            assert found.status is Status.PASSED
        for service in ("bridge", "alert_relay"):
            assert world.auditor.measurements[f"refusals.{service}"].status is Status.PASSED


async def test_doors_are_tried_once_in_the_interval_for_every_try_counts_as_an_attack(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        for _ in range(5):
            await world.auditor.measure()
            world.clock.advance(INTERVAL / 5 - 1)
        assert knocks(ours["bridge"]) == 2
        world.clock.advance(5)
        await world.auditor.measure()
        assert knocks(ours["bridge"]) == 4


async def test_the_tries_stay_below_the_alert_on_brute_force(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    shortest = McpHealthSettings.model_fields["compliance_interval_seconds"].metadata[0].ge
    async with living(tmp_path, ours, compliance_interval_seconds=shortest) as world:
        for _ in range(60):  # five minutes of rounds every five seconds
            await world.auditor.measure()
            world.clock.advance(5)
        assert knocks(ours["bridge"]) <= 10


async def test_a_service_that_is_not_up_yet_is_tried_again_in_the_next_round(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    del ours["bridge"]
    async with living(tmp_path, ours, bridge_url=await unused_port()) as world:
        found = await world.audit(Question.ACCESS, "bridge")
        assert found.status is Status.UNKNOWN
        assert "cannot connect" in found.evidence["reason"]
        late = service_of_ours()
        async with serving(late):
            world.catalogue.clients["bridge"].base_url = late.url
            world.clock.advance(5)
            assert (await world.audit(Question.ACCESS, "bridge")).status is Status.PASSED


async def test_what_was_measured_of_a_service_that_went_away_grows_too_old(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        await world.auditor.measure()
        world.catalogue.clients["bridge"].base_url = await unused_port()
        world.clock.advance(INTERVAL)
        assert (await world.audit(Question.ACCESS, "bridge")).status is Status.PASSED
        world.clock.advance(2 * INTERVAL + 1)
        await world.auditor.measure()
        (row,) = [
            row
            for row in world.auditor.report().of(Standard.HIPAA)
            if row.control.question is Question.ACCESS
        ]
        assert row.status is Status.UNKNOWN
        assert "too old" in row.evidence["bridge"]["reason"]


async def test_the_key_s_file_is_that_of_the_data_folder(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours) as world:
        assert (await world.audit(Question.KEY_FILE)).status is Status.UNKNOWN
        (tmp_path / "api_key").write_text(KEY)
        (tmp_path / "api_key").chmod(0o600)
        assert (await world.audit(Question.KEY_FILE)).status is Status.PASSED
        (tmp_path / "api_key").chmod(0o644)
        assert (await world.audit(Question.KEY_FILE)).status is Status.FAILED


async def test_or_the_file_that_the_settings_name(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    secret = tmp_path / "secret"
    secret.write_text(KEY)
    secret.chmod(0o640)
    async with living(tmp_path, ours, api_key=KEY, api_key_file=secret) as world:
        found = await world.audit(Question.KEY_FILE)
        assert (found.status, found.evidence) == (Status.PASSED, {"mode": "0640"})


async def test_a_key_from_the_environment_is_unknown(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    async with living(tmp_path, ours, api_key=KEY) as world:
        assert (await world.audit(Question.KEY_FILE)).status is Status.UNKNOWN


async def test_the_real_sockets_of_the_services_are_looked_at(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        found = await world.audit(Question.LISTENERS)
    assert found.status is Status.PASSED
    assert found.evidence["listen_on"] == {name: ["127.0.0.1"] for name in ours}


async def test_the_store_is_as_the_bridge_said_in_its_last_answer(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    database = {"status": "healthy", "dialect": "sqlite", "synchronous": "full"}
    ours["bridge"].says("/health", health(database=database))
    async with living(tmp_path, ours) as world:
        assert (await world.audit(Question.STORE)).status is Status.UNKNOWN  # not asked yet
        await world.check()
        assert (await world.audit(Question.STORE)).status is Status.PASSED
        ours["bridge"].says("/health", {}, 500)
        await world.check()
        assert (await world.audit(Question.STORE)).status is Status.UNKNOWN


async def test_monitoring_passes_while_every_target_is_up(tmp_path: Path, ours: dict[str, Neighbour]) -> None:
    there = prometheus([target(), target(job="dashboard")], [])
    async with serving(there), living(tmp_path, ours, prometheus_url=there.url) as world:
        assert (await world.audit(Question.MONITORING)).status is Status.UNKNOWN
        await world.check()
        assert (await world.audit(Question.MONITORING)).status is Status.PASSED
        there.says("/api/v1/targets", {"data": {"activeTargets": [target("down")]}})
        await world.check()
        found = await world.audit(Question.MONITORING)
        assert found.status is Status.FAILED
        assert found.evidence["scrape_targets"]["down"] == 1


async def test_the_alert_path_passes_while_the_relay_works_and_alertmanager_is_not_asked_for(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours) as world:
        await world.check()
        found = await world.audit(Question.ALERT_PATH)
        assert found.status is Status.PASSED
        assert set(found.evidence) == {"alert_relay"}
        ours["alert_relay"].says("/health", health("critical"), 503)
        await world.check()
        assert (await world.audit(Question.ALERT_PATH)).status is Status.FAILED


async def test_an_alertmanager_that_is_set_up_and_gone_breaks_the_alert_path(
    tmp_path: Path, ours: dict[str, Neighbour]
) -> None:
    async with living(tmp_path, ours, alertmanager_url=await unused_port()) as world:
        await world.check()
        assert (await world.audit(Question.ALERT_PATH)).status is Status.FAILED


class TestTraces:
    def jaeger(self) -> Neighbour:
        """Has exactly the traces that a test puts in ``kept``."""
        there = Neighbour()
        there.says("/api/services", {"data": []})
        return there

    def keeps(self, jaeger: Neighbour, sink: Told) -> str:
        (*_, span) = sink.get_finished_spans()
        context = span.get_span_context()
        assert context is not None
        trace_id = f"{context.trace_id:032x}"
        jaeger.says(f"/api/traces/{trace_id}", {"data": [{"traceID": trace_id}]})
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
        sink, jaeger = Told(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            assert (await world.audit(Question.TRACES)).status is Status.UNKNOWN
            trace_id = self.keeps(jaeger, sink)
            world.clock.advance(5)
            found = await world.audit(Question.TRACES)
            assert found.status is Status.PASSED
            assert found.evidence == {"trace_id": trace_id, "sent_seconds_ago": 5.0}

    async def test_a_span_that_is_not_there_within_a_minute_fails(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        sink, jaeger = Told(), self.jaeger()
        async with serving(jaeger), living(tmp_path, ours, sink, jaeger_url=jaeger.url) as world:
            await world.auditor.measure()
            world.clock.advance(TRACE_PATIENCE_SECONDS - 1)
            assert (await world.audit(Question.TRACES)).status is Status.UNKNOWN
            world.clock.advance(2)
            assert (await world.audit(Question.TRACES)).status is Status.FAILED

    async def test_a_new_span_is_sent_in_every_interval_and_the_old_finding_stands_meanwhile(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        sink, jaeger = Told(), self.jaeger()
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
        async with living(tmp_path, ours, Told(), jaeger_url=await unused_port()) as world:
            await world.auditor.measure()
            world.clock.advance(3600)
            found = await world.audit(Question.TRACES)
            assert found.status is Status.UNKNOWN
            assert found.evidence["reason"].startswith("jaeger: cannot connect")

    async def test_the_id_is_no_label_of_a_metric(self, tmp_path: Path, ours: dict[str, Neighbour]) -> None:
        sink, jaeger = Told(), self.jaeger()
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
                controls = len(world.auditor.report().of(standard))
                counted = world.sample(
                    "cctelegram_compliance_controls", standard=standard, status=Status.UNKNOWN
                )
                assert counted == controls

    async def test_a_score_appears_with_the_first_measurement_and_matches_the_report(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        async with living(tmp_path, ours) as world:
            await world.check()
            await world.auditor.measure()
            for standard in Standard:
                rows = world.auditor.report().of(standard)
                assert world.sample("compliance_score", standard=standard) == compliance.score(rows)

    async def test_an_open_door_lowers_every_score_that_asks_for_it(
        self, tmp_path: Path, ours: dict[str, Neighbour]
    ) -> None:
        ours["bridge"].says("/api/v1/messages", [])
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
    ours["bridge"].sends("/openapi.json", b'{"paths": 7}')
    async with living(tmp_path, ours) as world:
        found = await world.audit(Question.ACCESS, "bridge")
        assert found.status is Status.UNKNOWN
        assert world.auditor.measurements["access.dashboard"].status is Status.PASSED


def row(check_id: str, level: Level, last_check: float | None = NOW) -> Row:
    async def probe() -> HealthMeasurement:
        return HealthMeasurement(level)

    return Row(Check(check_id, check_id, CheckType.SYSTEM, probe), level, {}, last_check=last_check)


@pytest.mark.parametrize(
    ("levels", "status"),
    [
        ([Level.HEALTHY, Level.HEALTHY], Status.PASSED),
        ([Level.HEALTHY, Level.UNKNOWN], Status.UNKNOWN),
        ([Level.DEGRADED, Level.HEALTHY], Status.FAILED),
        ([Level.DEGRADED, Level.UNKNOWN], Status.FAILED),
        ([Level.UNKNOWN], Status.UNKNOWN),
        ([], Status.UNKNOWN),
    ],
)
def test_health_checks_as_a_measurement(levels: list[Level], status: Status) -> None:
    found = from_rows([row(f"check{n}", level) for n, level in enumerate(levels)], {Level.HEALTHY})
    assert found.status is status


def test_a_measurement_from_checks_is_as_old_as_the_oldest() -> None:
    rows = [row("memory", Level.HEALTHY, NOW), row("disk", Level.HEALTHY, NOW - 30)]
    assert from_rows(rows, {Level.HEALTHY}).measured_at == NOW - 30
