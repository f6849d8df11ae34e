"""Which checks there are, how each is made, and what is known of it.

The kit's Health makes them, each again and again; here stands what a single one does.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from services.kit.clock import Clock, rfc3339
from services.kit.health import Component, Health, Level, Measurement, worst
from services.mcp_health import breaker
from services.mcp_health.breaker import Breaker
from services.mcp_health.metrics import Metrics
from services.mcp_health.probes import CallError

log = structlog.get_logger()
Probe = Callable[[], Awaitable[Measurement]]


class CheckType(StrEnum):
    SYSTEM = "system"  #: the machine or container that this runs on
    DEPENDENCY = "dependency"  #: another program, called over the network
    CUSTOM = "custom"  #: drawn from what dependencies answered


@dataclass(frozen=True, slots=True)
class Check:
    """One health question.

    Args:
        id: bounded; a metric label, and the key in ``/health``.
        name: for people.
        type: what is asked.
        probe: asks; none where it is not configured.
        critical: whether the suite cannot do its main job while this fails.
        reason: why there is no probe.
    """

    id: str
    name: str
    type: CheckType
    probe: Probe | None
    critical: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A check and what is known of it now."""

    check: Check
    level: Level
    evidence: Mapping[str, Any]
    duration: float | None = None  #: seconds
    last_check: float | None = None  #: seconds since the epoch; when it was really made
    consecutive_failures: int = 0
    circuit: breaker.State | None = None
    opened_at: float | None = None  #: seconds since the epoch

    def brief(self) -> dict[str, Any]:
        """As it stands in ``/health``; the level and the times are ours, whatever the evidence holds."""
        duration = None if self.duration is None else round(self.duration * 1000, 1)
        checked = None if self.last_check is None else rfc3339(self.last_check)
        known = {"status": self.level.value, "response_time_ms": duration, "last_check": checked}
        return {**self.evidence, **known}


@dataclass(slots=True)
class Watched:
    """One check with its history. Its :meth:`measure` is a probe of the kit's Health."""

    check: Check
    probe: Probe
    clock: Clock
    metrics: Metrics
    timeout: float
    circuit: Breaker = field(default_factory=Breaker)
    reading: Measurement = field(
        default_factory=lambda: Measurement(Level.UNKNOWN, {"reason": "not measured yet"})
    )
    duration: float | None = None
    last_check: float | None = None
    consecutive_failures: int = 0

    async def measure(self) -> Measurement:
        """Makes the check, unless the circuit is open."""
        self.circuit = breaker.tried(self.circuit, self.clock.monotonic())
        if self.circuit.state is breaker.State.OPEN:
            self.metrics.checked(self.check.id, self.reading.level, None)
            return self.reading
        start = time.perf_counter()
        reading, answered = await self._asked()
        self.duration = time.perf_counter() - start
        self._settle(answered=answered)
        self.last_check = self.clock.time()
        self.reading = reading
        failed = reading.level in (Level.UNHEALTHY, Level.CRITICAL)
        self.consecutive_failures = self.consecutive_failures + 1 if failed else 0
        self.metrics.checked(self.check.id, reading.level, self.duration)
        return reading

    async def _asked(self) -> tuple[Measurement, bool]:
        """What the probe found, and whether there was an answer at all."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self.probe(), True
        except TimeoutError:
            return self._down(f"no answer within {self.timeout:g} s"), False
        except CallError as error:
            return self._down(str(error)), error.answered

    def _down(self, error: str) -> Measurement:
        return Measurement(Level.CRITICAL if self.check.critical else Level.UNHEALTHY, {"error": error})

    def _settle(self, *, answered: bool) -> None:
        if self.check.type is not CheckType.DEPENDENCY:
            return
        before = self.circuit.state
        now = self.clock.monotonic()
        self.circuit = breaker.succeeded(self.circuit) if answered else breaker.failed(self.circuit, now)
        if self.circuit.state is not before:
            log.info("circuit_changed", dependency=self.check.id, state=self.circuit.state.value)
        self.metrics.circuit(self.check.id, self.circuit.state.value)

    def row(self, component: Component) -> Row:
        """As it is now; the kit knows when a reading has gone stale, or when a probe broke."""
        is_dependency = self.check.type is CheckType.DEPENDENCY
        opened = self.circuit.opened_at
        evidence = dict(self.reading.measured if self.last_check is None else component.measurement.measured)
        if component.stale:
            evidence["stale_seconds"] = round(component.age or 0.0, 1)
        if self.circuit.state is breaker.State.OPEN:
            evidence["not_called"] = "the circuit is open: this is the last finding"
        return Row(
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
    """All checks.

    Args:
        checks: what there is to ask.
        health: of the service; makes the checks while it runs.
        clock: for the circuits and the times shown.
        metrics: of the service.
        every: seconds between two measurements of a check.
        timeout: seconds for one.
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
        self.watched: dict[str, Watched] = {}
        for check in checks:
            if check.probe is not None:
                watched = Watched(check, check.probe, clock, metrics, timeout)
                self.watched[check.id] = watched
                # Its own timeout comes first; the kit's only catches a probe that does not give up.
                health.add(check.id, watched.measure, every=every, timeout=timeout + 1)

    @property
    def level(self) -> Level:
        return worst([row.level for row in self.rows()])

    def rows(self) -> list[Row]:
        return [self._row(check) for check in self._checks]

    def _row(self, check: Check) -> Row:
        watched = self.watched.get(check.id)
        if watched is None:
            return Row(check, Level.UNKNOWN, {"reason": check.reason})
        return watched.row(self._health.components[check.id])

    def report(self) -> dict[str, Any]:
        """``components`` and ``services`` of ``/health``."""
        rows = self.rows()
        outside = {row.check.id: row.brief() for row in rows if row.check.type is CheckType.DEPENDENCY}
        inside = {row.check.id: row.brief() for row in rows if row.check.type is not CheckType.DEPENDENCY}
        return {"components": inside, "services": outside}
