"""Runs the checks, and stores the last result and the circuit breaker of each.

The kit's ``Health`` schedules the checks; this module defines what one run does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from services.contracts.health import CheckType, CircuitState, ComponentHealth
from services.kit.clock import Clock, rfc3339
from services.kit.health import Component, Health, Level, Measurement, worst
from services.mcp_health import breaker
from services.mcp_health.breaker import CircuitBreaker
from services.mcp_health.metrics import Metrics
from services.mcp_health.probes import CallError

log = structlog.get_logger()
Probe = Callable[[], Awaitable[Measurement]]


@dataclass(frozen=True, slots=True)
class Check:
    """One health check.

    Args:
        id: metric label and key in ``/health``; from a fixed set.
        name: name for people.
        type: what the check measures.
        probe: runs the check; None if its dependency is not configured.
        critical: whether the suite cannot do its main job while the check fails.
        reason: why there is no probe.
    """

    id: str
    name: str
    type: CheckType
    probe: Probe | None
    critical: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """A check and its last result."""

    check: Check
    level: Level
    evidence: Mapping[str, Any]
    duration: float | None = None  #: seconds
    last_check: float | None = None  #: when the probe last ran, seconds since the epoch
    consecutive_failures: int = 0
    circuit: CircuitState | None = None
    opened_at: float | None = None  #: seconds since the epoch

    def component(self) -> ComponentHealth:
        """Returns the result for ``/health``; evidence cannot replace the level or the times."""
        duration = None if self.duration is None else round(self.duration * 1000, 1)
        last_check = None if self.last_check is None else rfc3339(self.last_check)
        fields = {"status": self.level, "response_time_ms": duration, "last_check": last_check}
        return ComponentHealth.model_validate({**self.evidence, **fields})


@dataclass(slots=True)
class MonitoredCheck:
    """A check with its state; :meth:`measure` is a probe of the kit's ``Health``."""

    check: Check
    probe: Probe
    clock: Clock
    metrics: Metrics
    timeout: float  #: seconds
    circuit: CircuitBreaker = field(default_factory=CircuitBreaker)
    reading: Measurement = field(
        default_factory=lambda: Measurement(Level.UNKNOWN, {"reason": "not measured yet"})
    )
    duration: float | None = None  #: seconds
    last_check: float | None = None  #: seconds since the epoch
    consecutive_failures: int = 0

    async def measure(self) -> Measurement:
        """Runs the check, or returns the last reading while the circuit is open."""
        self.circuit = breaker.before_call(self.circuit, self.clock.monotonic())
        if self.circuit.state is CircuitState.OPEN:
            self.metrics.checked(self.check.id, self.reading.level, None)
            return self.reading
        start = time.perf_counter()
        reading, answered = await self._run_probe()
        self.duration = time.perf_counter() - start
        self._update_circuit(answered=answered)
        self.last_check = self.clock.time()
        self.reading = reading
        failed = reading.level in (Level.UNHEALTHY, Level.CRITICAL)
        self.consecutive_failures = self.consecutive_failures + 1 if failed else 0
        self.metrics.checked(self.check.id, reading.level, self.duration)
        return reading

    async def _run_probe(self) -> tuple[Measurement, bool]:
        """Returns the reading, and whether the dependency answered."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self.probe(), True
        except TimeoutError:
            return self._failure(f"no answer within {self.timeout:g} s"), False
        except CallError as error:
            return self._failure(str(error)), error.answered

    def _failure(self, error: str) -> Measurement:
        return Measurement(Level.CRITICAL if self.check.critical else Level.UNHEALTHY, {"error": error})

    def _update_circuit(self, *, answered: bool) -> None:
        if self.check.type is not CheckType.DEPENDENCY:
            return
        before = self.circuit.state
        now = self.clock.monotonic()
        self.circuit = breaker.succeeded(self.circuit) if answered else breaker.failed(self.circuit, now)
        if self.circuit.state is not before:
            log.info("circuit_changed", dependency=self.check.id, state=self.circuit.state.value)
        self.metrics.circuit(self.check.id, self.circuit.state.value)

    def result(self, component: Component) -> CheckResult:
        """Returns the current result; ``component`` is stale or unhealthy if the probe hung or raised."""
        is_dependency = self.check.type is CheckType.DEPENDENCY
        opened = self.circuit.opened_at
        evidence = dict(self.reading.measured if self.last_check is None else component.measurement.measured)
        if component.stale:
            evidence["stale_seconds"] = round(component.age or 0.0, 1)
        if self.circuit.state is CircuitState.OPEN:
            evidence["not_called"] = "the circuit is open: this is the last result"
        return CheckResult(
            self.check,
            component.level,
            evidence,
            self.duration,
            self.last_check,
            self.consecutive_failures,
            self.circuit.state if is_dependency else None,
            None if opened is None else self.clock.time() - (self.clock.monotonic() - opened),
        )


class Authority:
    """All checks of the suite.

    Args:
        checks: the checks.
        health: the service's health; it schedules the checks.
        clock: for circuit breakers and reported times.
        metrics: the service's metrics.
        every: seconds between two runs of a check.
        timeout: seconds for one run.
    """

    def __init__(
        self,
        checks: list[Check],
        *,
        health: Health,
        clock: Clock,
        metrics: Metrics,
        every: float,
        timeout: float,
    ) -> None:
        self._health = health
        self._checks = checks
        self.clock = clock
        self.monitored: dict[str, MonitoredCheck] = {}
        for check in checks:
            if check.probe is not None:
                monitored = MonitoredCheck(check, check.probe, clock, metrics, timeout)
                self.monitored[check.id] = monitored
                # The kit's timeout is longer: it catches only a probe that ignores its own.
                health.add(check.id, monitored.measure, every=every, timeout=timeout + 1)

    @property
    def level(self) -> Level:
        return worst([result.level for result in self.results()])

    def results(self) -> list[CheckResult]:
        return [self._result(check) for check in self._checks]

    def _result(self, check: Check) -> CheckResult:
        monitored = self.monitored.get(check.id)
        if monitored is None:
            return CheckResult(check, Level.UNKNOWN, {"reason": check.reason})
        return monitored.result(self._health.components[check.id])

    def components(self) -> tuple[dict[str, ComponentHealth], dict[str, ComponentHealth]]:
        """Returns the results for ``/health`` by check id: those of dependencies, and the others."""
        results = self.results()
        dependency = CheckType.DEPENDENCY
        return (
            {each.check.id: each.component() for each in results if each.check.type is dependency},
            {each.check.id: each.component() for each in results if each.check.type is not dependency},
        )
