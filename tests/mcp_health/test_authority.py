import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.contracts.health import CheckType, CircuitState
from services.kit.health import Health, Level, Measurement
from services.mcp_health.authority import Authority, Check, CheckResult
from services.mcp_health.metrics import Metrics
from services.mcp_health.probes import CallError
from tests.servers import ManualClock


@dataclass
class Dependency:
    """A probe with answers that a test sets; it counts its calls."""

    answer: Callable[[], Awaitable[Measurement]] | None = None
    calls: int = 0

    async def __call__(self) -> Measurement:
        self.calls += 1
        return await self.answer() if self.answer else Measurement(Level.HEALTHY, {"version": "1"})

    def says(self, level: Level, **measured: Any) -> None:
        async def answer() -> Measurement:
            return Measurement(level, measured)

        self.answer = answer

    def fails(self, *, answered: bool = False) -> None:
        async def answer() -> Measurement:
            raise CallError("cannot connect", answered=answered)

        self.answer = answer

    def hangs(self) -> None:
        async def answer() -> Measurement:
            await asyncio.Event().wait()
            raise AssertionError

        self.answer = answer

    def breaks(self) -> None:
        async def answer() -> Measurement:
            raise ZeroDivisionError("a fault of ours")

        self.answer = answer


@dataclass
class World:
    """An authority over a critical bridge, a dispensable Grafana, a disk and an absent Jaeger."""

    clock: ManualClock = field(default_factory=lambda: ManualClock(1_767_225_600.0))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    bridge: Dependency = field(default_factory=Dependency)
    grafana: Dependency = field(default_factory=Dependency)
    disk: Dependency = field(default_factory=Dependency)

    def __post_init__(self) -> None:
        self.health = Health(self.clock)
        checks = [
            Check("bridge", "Bridge", CheckType.DEPENDENCY, self.bridge, critical=True),
            Check("grafana", "Grafana", CheckType.DEPENDENCY, self.grafana),
            Check("disk", "Disk", CheckType.SYSTEM, self.disk),
            Check("jaeger", "Jaeger", CheckType.DEPENDENCY, None, reason="not configured (JAEGER_URL)"),
        ]
        metrics = Metrics(self.registry, [check.id for check in checks], ["bridge", "grafana"])
        self.authority = Authority(
            checks, health=self.health, clock=self.clock, metrics=metrics, every=5.0, timeout=0.02
        )

    async def round(self, times: int = 1, every: float = 5.0) -> None:
        for _ in range(times):
            for component in self.health.components.values():
                await self.health.measure(component)
            self.clock.advance(every)

    def result(self, check_id: str) -> CheckResult:
        return next(result for result in self.authority.results() if result.check.id == check_id)

    def sample(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def world() -> World:
    return World()


def test_before_the_first_check_everything_is_unknown(world: World) -> None:
    assert {result.level for result in world.authority.results()} == {Level.UNKNOWN}
    assert world.authority.level is Level.UNKNOWN
    assert world.result("bridge").evidence == {"reason": "not measured yet"}
    assert world.result("bridge").last_check is None


async def test_a_check_tells_level_evidence_time_and_duration(world: World) -> None:
    now = world.clock.time()
    await world.round()
    result = world.result("bridge")
    assert (result.level, result.evidence, result.last_check) == (Level.HEALTHY, {"version": "1"}, now)
    assert result.duration is not None
    assert result.duration >= 0
    assert result.circuit is CircuitState.CLOSED
    assert result.opened_at is None


async def test_what_is_not_configured_is_unknown_with_its_reason_and_spoils_nothing(world: World) -> None:
    await world.round()
    result = world.result("jaeger")
    assert (result.level, result.evidence) == (Level.UNKNOWN, {"reason": "not configured (JAEGER_URL)"})
    assert result.circuit is None
    assert result.last_check is None
    assert world.authority.level is Level.HEALTHY


async def test_a_critical_dependency_that_is_gone_makes_the_suite_critical(world: World) -> None:
    world.bridge.fails()
    await world.round()
    assert world.result("bridge").level is Level.CRITICAL
    assert world.result("bridge").evidence == {"error": "cannot connect"}
    assert world.authority.level is Level.CRITICAL


async def test_a_dispensable_one_makes_it_unhealthy(world: World) -> None:
    world.grafana.fails()
    await world.round()
    assert world.result("grafana").level is Level.UNHEALTHY
    assert world.authority.level is Level.UNHEALTHY


async def test_a_dependency_that_hangs_is_given_up_on(world: World) -> None:
    world.bridge.hangs()
    await world.round()
    assert world.result("bridge").evidence == {"error": "no answer within 0.02 s"}
    assert world.result("bridge").level is Level.CRITICAL


async def test_failures_in_a_row_are_counted_until_the_first_success(world: World) -> None:
    world.grafana.fails()
    await world.round(3, every=60)
    assert world.result("grafana").consecutive_failures == 3
    world.grafana.says(Level.DEGRADED)
    await world.round()
    assert world.result("grafana").consecutive_failures == 0


async def test_five_failures_open_the_circuit_and_the_dependency_is_left_alone(world: World) -> None:
    world.bridge.fails()
    await world.round(5)
    opened = world.clock.time() - 5.0
    result = world.result("bridge")
    assert result.circuit is CircuitState.OPEN
    assert result.opened_at == pytest.approx(opened)
    await world.round(10)
    assert world.bridge.calls == 5


async def test_while_the_circuit_is_open_the_last_finding_stands_and_says_so(world: World) -> None:
    world.bridge.fails()
    await world.round(8)
    result = world.result("bridge")
    assert result.level is Level.CRITICAL
    assert result.evidence["error"] == "cannot connect"
    assert "circuit is open" in result.evidence["not_called"]
    assert result.consecutive_failures == 5
    assert result.last_check == pytest.approx(world.clock.time() - 4 * 5.0)


async def test_after_a_minute_it_is_tried_again_and_three_successes_close_the_circuit(world: World) -> None:
    world.bridge.fails()
    await world.round(5)
    world.bridge.says(Level.HEALTHY)
    world.clock.advance(55)
    await world.round(2)
    result = world.result("bridge")
    assert (result.circuit, result.level) == (CircuitState.HALF_OPEN, Level.HEALTHY)
    assert "not_called" not in result.evidence
    await world.round()
    result = world.result("bridge")
    assert (result.circuit, result.opened_at) == (CircuitState.CLOSED, None)


async def test_a_failure_on_trial_leaves_it_alone_for_another_minute(world: World) -> None:
    world.bridge.fails()
    await world.round(5)
    world.clock.advance(55)
    await world.round()
    assert world.result("bridge").circuit is CircuitState.OPEN
    await world.round(11)
    assert world.bridge.calls == 6


async def test_refusals_never_open_the_circuit(world: World) -> None:
    world.bridge.fails(answered=True)
    await world.round(20, every=1.0)
    result = world.result("bridge")
    assert result.circuit is CircuitState.CLOSED
    assert result.level is Level.CRITICAL
    assert result.consecutive_failures == 20


async def test_a_dependency_that_reports_itself_critical_answers_and_is_called_on(world: World) -> None:
    world.bridge.says(Level.CRITICAL)
    await world.round(20, every=1.0)
    assert world.result("bridge").circuit is CircuitState.CLOSED
    assert world.bridge.calls == 20


async def test_timeouts_open_the_circuit_too(world: World) -> None:
    world.grafana.hangs()
    await world.round(6)
    assert world.result("grafana").circuit is CircuitState.OPEN
    assert world.grafana.calls == 5


async def test_each_dependency_has_a_circuit_of_its_own(world: World) -> None:
    world.grafana.fails()
    await world.round(6)
    assert world.result("grafana").circuit is CircuitState.OPEN
    assert world.result("bridge").circuit is CircuitState.CLOSED
    assert world.bridge.calls == 6


async def test_a_check_of_this_machine_has_no_circuit_and_is_never_left_out(world: World) -> None:
    world.disk.fails()
    await world.round(10)
    assert world.disk.calls == 10
    assert world.result("disk").circuit is None


async def test_a_fault_of_our_own_shows_as_unhealthy_and_stops_nothing(world: World) -> None:
    world.disk.breaks()
    await world.round(2)
    result = world.result("disk")
    assert result.level is Level.UNHEALTHY
    assert world.result("bridge").level is Level.HEALTHY


async def test_a_reading_that_is_not_renewed_is_stale_and_degraded(world: World) -> None:
    await world.round()
    world.clock.advance(60)
    result = world.result("bridge")
    assert result.level is Level.DEGRADED
    assert result.evidence["stale_seconds"] == 65.0
    assert world.authority.level is Level.DEGRADED


async def test_an_open_circuit_is_not_stale_for_it_is_looked_at(world: World) -> None:
    world.grafana.fails()
    await world.round(12)
    assert "stale_seconds" not in world.result("grafana").evidence


async def test_the_report_keeps_what_is_outside_apart_from_what_is_inside(world: World) -> None:
    await world.round()
    services, components = world.authority.components()
    assert set(services) == {"bridge", "grafana", "jaeger"}
    assert set(components) == {"disk"}
    assert services["bridge"].status == "healthy"
    assert services["bridge"].last_check == "2026-01-01T00:00:00.000Z"
    assert services["jaeger"].model_dump() == {
        "reason": "not configured (JAEGER_URL)",
        "status": "unknown",
        "response_time_ms": None,
        "last_check": None,
    }


async def test_evidence_cannot_pass_itself_off_as_our_level(world: World) -> None:
    world.bridge.says(Level.DEGRADED, status="healthy", last_check="1970-01-01T00:00:00Z")
    await world.round()
    component = world.result("bridge").component()
    assert component.status == "degraded"
    assert component.last_check == "2026-01-01T00:00:00.000Z"


def test_every_series_is_there_from_the_start_and_none_says_up(world: World) -> None:
    for check in ("bridge", "grafana", "disk", "jaeger"):
        up = world.sample("cctelegram_health_check_up", check=check)
        assert up is not None
        assert up != up  # noqa: PLR0124 - NaN: neither up nor down
        assert world.sample("cctelegram_health_check_duration_seconds_count", check=check) == 0
    for dependency in ("bridge", "grafana"):
        assert world.sample("cctelegram_circuit_breaker_state", dependency=dependency) == 0


async def test_checks_are_measured(world: World) -> None:
    world.grafana.fails()
    world.disk.says(Level.DEGRADED)
    await world.round(2)
    assert world.sample("cctelegram_health_check_up", check="bridge") == 1
    assert world.sample("cctelegram_health_check_up", check="disk") == 1
    assert world.sample("cctelegram_health_check_up", check="grafana") == 0
    assert world.sample("cctelegram_health_check_duration_seconds_count", check="grafana") == 2


async def test_the_circuit_s_state_is_a_series(world: World) -> None:
    world.grafana.fails()
    await world.round(5)
    assert world.sample("cctelegram_circuit_breaker_state", dependency="grafana") == 2
    world.grafana.says(Level.HEALTHY)
    world.clock.advance(60)
    await world.round()
    assert world.sample("cctelegram_circuit_breaker_state", dependency="grafana") == 1
    await world.round(2)
    assert world.sample("cctelegram_circuit_breaker_state", dependency="grafana") == 0


async def test_a_check_that_is_not_made_has_no_duration(world: World) -> None:
    world.grafana.fails()
    await world.round(9)
    assert world.sample("cctelegram_health_check_duration_seconds_count", check="grafana") == 5
    assert world.sample("cctelegram_health_check_up", check="grafana") == 0
