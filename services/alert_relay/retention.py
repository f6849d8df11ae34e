"""Retention: what is older than it has to be kept is deleted, a portion at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from sqlalchemy import Connection

from services.alert_relay import pruning
from services.alert_relay.metrics import RelayMetrics
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database

EVERY_SECONDS = 3_600.0
DAY = 86_400.0


class Retention:
    """See the module.

    Args:
        database: of the relay.
        keep_days: how long it is kept.
        metrics: of the relay.
        clock: the time.
    """

    def __init__(self, database: Database, keep_days: float, metrics: RelayMetrics, clock: Clock) -> None:
        self._database = database
        self._keep = keep_days * DAY
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            with suppress_and_log("retention_failed", self._metrics.retention_failures.inc):
                await self.once()
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Deletes all that is old now."""
        before = self._clock.time() - self._keep
        for step in pruning.STEPS:
            while gone := await self._database.write(
                "retention", partial(_portion, step=step, before=before)
            ):
                for table, rows in gone.items():
                    self._metrics.pruned.labels(table).inc(rows)
        self._metrics.retention.beat(self._clock.time())


def _portion(connection: Connection, step: pruning.Step, before: float) -> dict[str, int]:
    """The rows that went, by table; empty when there is nothing left to delete."""
    gone = step(connection, before)
    return gone if any(gone.values()) else {}


@asynccontextmanager
async def retaining(
    database: Database, keep_days: float, metrics: RelayMetrics, clock: Clock
) -> AsyncIterator[None]:
    """Deletes what is old while the block runs; 0 days keeps it for ever."""
    if not keep_days:
        yield
        return
    async with run_in_background(Retention(database, keep_days, metrics, clock).run()):
        yield
