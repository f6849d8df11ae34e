"""What is measured by asking the database: incidents by state, and the age of the last sign of life.

When that stays away, people are told (see ``deadman``).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import Connection

from services.alert_relay import queries
from services.alert_relay.deadman import DeadMan
from services.alert_relay.incidents import State
from services.alert_relay.metrics import RelayMetrics
from services.kit.background import run_in_background, suppress_and_log
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement

MEASURE_SECONDS = 5.0


class Watch:
    """Keeps the gauges, and answers for the Watchdog's health.

    Another replica may have heard what this one has not, so the database is asked.
    """

    def __init__(
        self, database: Database, metrics: RelayMetrics, dead_man: DeadMan, watchdog_max_age: float
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._dead_man = dead_man
        self._max_age = watchdog_max_age

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            with suppress_and_log("measure_failed"):
                await self.measure()
            await asyncio.sleep(MEASURE_SECONDS)

    async def measure(self) -> None:
        counts, beats = await self._database.read("measure", _measured)
        for state, number in counts.items():
            self._metrics.incidents.labels(state.value).set(number)
        self._metrics.watchdog.beat(max(beats.values(), default=None))
        await self._dead_man.look(beats)

    async def check_watchdog(self) -> Measurement:
        """A health probe: unknown until the first sign of life, unhealthy when it stays away."""
        age = self._metrics.watchdog.age()
        if age is None:
            return Measurement(Level.UNKNOWN, {"error": "the Watchdog alert has never come"})
        level = Level.HEALTHY if age <= self._max_age else Level.UNHEALTHY
        return Measurement(level, {"age_seconds": round(age, 1), "max_age_seconds": self._max_age})


def _measured(connection: Connection) -> tuple[dict[State, int], dict[str, float]]:
    return queries.counts(connection), queries.last_beats(connection)


@asynccontextmanager
async def watching(
    database: Database, metrics: RelayMetrics, dead_man: DeadMan, watchdog_max_age: float
) -> AsyncIterator[Watch]:
    """A watch that measures while the block runs, and has measured once when it begins."""
    watch = Watch(database, metrics, dead_man, watchdog_max_age)
    await watch.measure()
    async with run_in_background(watch.run()):
        yield watch
