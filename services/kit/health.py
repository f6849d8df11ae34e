"""Health of a service: components that are measured; unknown until then, never healthy by default.

Probes run in the background, each at its interval, and at once when the component reports a change itself.
The report reads the last measurements, so that a slow dependency does not slow it down.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from services.kit.clock import Clock, rfc3339

log = structlog.get_logger()


class Level(StrEnum):
    UNKNOWN = "unknown"  #: never measured, or not measurable
    HEALTHY = "healthy"
    DEGRADED = "degraded"  #: works, but needs attention
    UNHEALTHY = "unhealthy"  #: does not work now
    CRITICAL = "critical"  #: the whole service does not work


# An unknown component makes a service neither worse nor better.
_RANK = {Level.UNKNOWN: 0, Level.HEALTHY: 1, Level.DEGRADED: 2, Level.UNHEALTHY: 3, Level.CRITICAL: 4}


def worst(levels: list[Level]) -> Level:
    """The worst of the levels; unknown if every one is unknown, or there is none."""
    return max(levels, key=_RANK.__getitem__, default=Level.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement: the level, and the values that it follows from."""

    level: Level
    measured: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[], Awaitable[Measurement]]
#: A measurement is stale when this many later ones are missing.
STALE_AFTER_MISSED = 3
#: Seconds between two measurements at least, however often a component reports a change.
SHORTEST_PAUSE = 0.5
#: The time of a probe counts in so many parts. A part that took longer, because the event loop stood still,
#: counts as one: the probe could not go on meanwhile, and its answer may be there.
_TIMEOUT_PARTS = 12


@dataclass(slots=True)
class Component:
    """A monitored part of a service, with its last measurement."""

    name: str
    probe: Probe
    required: bool
    every: float
    timeout: float
    clock: Clock
    wake: asyncio.Event
    measurement: Measurement = field(default_factory=lambda: Measurement(Level.UNKNOWN))
    last_check: float | None = None
    _measured_at: float = 0.0

    def record(self, measurement: Measurement) -> None:
        self.measurement = measurement
        self.last_check = self.clock.time()
        self._measured_at = self.clock.monotonic()

    @property
    def age(self) -> float | None:
        """Seconds since the last measurement; None before the first."""
        return None if self.last_check is None else self.clock.monotonic() - self._measured_at

    @property
    def stale(self) -> bool:
        """Whether the last measurement is too old to describe the component now."""
        return self.age is not None and self.age > STALE_AFTER_MISSED * (self.every + self.timeout)

    @property
    def level(self) -> Level:
        """The last measured level; a stale "healthy" counts as degraded."""
        outdated = self.stale and self.measurement.level is Level.HEALTHY
        return Level.DEGRADED if outdated else self.measurement.level

    def report(self) -> dict[str, Any]:
        checked = rfc3339(self.last_check) if self.last_check is not None else None
        stale = {"stale_seconds": round(self.age or 0.0, 1)} if self.stale else {}
        return {"status": self.level.value, **self.measurement.measured, **stale, "last_check": checked}


class Health:
    """The monitored components of one service."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.components: dict[str, Component] = {}

    def add(
        self,
        name: str,
        probe: Probe,
        *,
        required: bool = False,
        every: float = 5.0,
        timeout: float = 3.0,
        wake: asyncio.Event | None = None,
    ) -> None:
        """Adds a component.

        Args:
            name: key in the report.
            probe: measures the component; an exception or a timeout counts as unhealthy.
            required: whether the service is not ready while this component fails.
            every: seconds between measurements.
            timeout: seconds for one measurement.
            wake: set where the component has changed, so that it is measured at once.
        """
        self.components[name] = Component(
            name, probe, required, every, timeout, self._clock, wake or asyncio.Event()
        )

    @property
    def level(self) -> Level:
        return worst([component.level for component in self.components.values()])

    def not_ready(self) -> dict[str, str]:
        """Required components that fail, with their level; empty when the service is ready."""
        working = (Level.HEALTHY, Level.DEGRADED)
        return {
            component.name: component.level.value
            for component in self.components.values()
            if component.required and component.level not in working
        }

    async def watch(self) -> None:
        """Measures every component at its interval, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for component in self.components.values():
                group.create_task(self._watch(component))

    async def _watch(self, component: Component) -> None:
        while True:
            component.wake.clear()
            await self.measure(component)
            await asyncio.sleep(min(SHORTEST_PAUSE, component.every))
            with suppress(TimeoutError):
                async with asyncio.timeout(component.every - SHORTEST_PAUSE):
                    await component.wake.wait()

    async def measure(self, component: Component) -> None:
        try:
            measurement = await _answer(component)
        except TimeoutError:
            measurement = Measurement(Level.UNHEALTHY, {"error": f"no answer within {component.timeout:g} s"})
        except Exception as error:  # noqa: BLE001 - any exception of a probe is its result
            measurement = Measurement(Level.UNHEALTHY, {"error": f"{type(error).__name__}: {error}"})
        if measurement.level != component.measurement.level:
            log.info(
                "health_changed",
                component=component.name,
                status=measurement.level.value,
                # As one field: a measured value may have the name of another field of the line.
                measured=dict(measurement.measured),
            )
        component.record(measurement)


async def _answer(component: Component) -> Measurement:
    """Runs the probe.

    Raises:
        TimeoutError: it did not answer in the time that the event loop ran.
    """
    probing = asyncio.ensure_future(component.probe())
    try:
        for _ in range(_TIMEOUT_PARTS):
            done, _ = await asyncio.wait({probing}, timeout=component.timeout / _TIMEOUT_PARTS)
            if done:
                return probing.result()
        raise TimeoutError
    finally:
        probing.cancel()
        await asyncio.gather(probing, return_exceptions=True)
