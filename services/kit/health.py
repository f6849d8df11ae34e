"""Health is measured or unknown. Nothing is ever healthy by default.

A component is measured in the background, each at its own interval; asking for the report
only reads what was last measured, so that a slow dependency never makes the report slow.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from services.kit.clock import Clock, rfc3339

log = structlog.get_logger()


class Level(StrEnum):
    UNKNOWN = "unknown"  #: never measured, or cannot be
    HEALTHY = "healthy"
    DEGRADED = "degraded"  #: works, but somebody should look
    UNHEALTHY = "unhealthy"  #: does not do its job now
    CRITICAL = "critical"  #: the service as a whole cannot do its job


# Unknown is no news: it does not make a service worse, and never better.
_RANK = {Level.UNKNOWN: 0, Level.HEALTHY: 1, Level.DEGRADED: 2, Level.UNHEALTHY: 3, Level.CRITICAL: 4}


def worst(levels: list[Level]) -> Level:
    """The worst of the levels; unknown only if nothing at all was measured."""
    return max(levels, key=_RANK.__getitem__, default=Level.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Reading:
    """One measurement: the level, and the numbers that it was decided from."""

    level: Level
    measured: Mapping[str, Any] = field(default_factory=dict)


Probe = Callable[[], Awaitable[Reading]]
#: A reading that this many measurements should have replaced is stale.
STALE_AFTER_MISSED = 3


@dataclass(slots=True)
class Component:
    name: str
    probe: Probe
    required: bool
    every: float
    timeout: float
    clock: Clock
    reading: Reading = field(default_factory=lambda: Reading(Level.UNKNOWN))
    last_check: float | None = None
    _measured_at: float = 0.0

    def take(self, reading: Reading) -> None:
        self.reading = reading
        self.last_check = self.clock.time()
        self._measured_at = self.clock.monotonic()

    @property
    def age(self) -> float | None:
        """Seconds since it was measured."""
        return None if self.last_check is None else self.clock.monotonic() - self._measured_at

    @property
    def stale(self) -> bool:
        """Whether the reading is too old to tell how the component is now."""
        return self.age is not None and self.age > STALE_AFTER_MISSED * (self.every + self.timeout)

    @property
    def level(self) -> Level:
        """As last measured; no longer healthy once that is too long ago."""
        outdated = self.stale and self.reading.level is Level.HEALTHY
        return Level.DEGRADED if outdated else self.reading.level

    def report(self) -> dict[str, Any]:
        checked = rfc3339(self.last_check) if self.last_check is not None else None
        stale = {"stale_seconds": round(self.age or 0.0, 1)} if self.stale else {}
        return {"status": self.level.value, **self.reading.measured, **stale, "last_check": checked}


class Health:
    """The components of one service and what was last measured of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.components: dict[str, Component] = {}

    def add(
        self, name: str, probe: Probe, *, required: bool = False, every: float = 5.0, timeout: float = 3.0
    ) -> None:
        """Watches a component.

        Args:
            name: its key in the report.
            probe: measures it; an exception or the timeout counts as unhealthy.
            required: whether the service is not ready without it.
            every: seconds between measurements.
            timeout: seconds for one measurement.
        """
        self.components[name] = Component(name, probe, required, every, timeout, self._clock)

    @property
    def level(self) -> Level:
        return worst([component.level for component in self.components.values()])

    def not_ready(self) -> dict[str, str]:
        """What keeps the service from doing its job; empty when it is ready."""
        fit = (Level.HEALTHY, Level.DEGRADED)
        return {
            component.name: component.level.value
            for component in self.components.values()
            if component.required and component.level not in fit
        }

    async def watch(self) -> None:
        """Measures every component, again and again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for component in self.components.values():
                group.create_task(self._watch(component))

    async def _watch(self, component: Component) -> None:
        while True:
            await self.measure(component)
            await asyncio.sleep(component.every)

    async def measure(self, component: Component) -> None:
        try:
            async with asyncio.timeout(component.timeout):
                reading = await component.probe()
        except TimeoutError:
            reading = Reading(Level.UNHEALTHY, {"error": f"no answer within {component.timeout:g} s"})
        except Exception as error:  # noqa: BLE001 - whatever a probe meets is its finding
            reading = Reading(Level.UNHEALTHY, {"error": f"{type(error).__name__}: {error}"})
        if reading.level != component.reading.level:
            log.info(
                "health_changed",
                component=component.name,
                status=reading.level.value,
                # Whole: what a probe measured may have any name, also one that a log line has.
                measured=dict(reading.measured),
            )
        component.take(reading)
