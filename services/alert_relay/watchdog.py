"""Dead man's switch: raises alerts while Watchdog alerts are overdue.

:mod:`services.alert_relay.heartbeats` decides which. The same loop measures the gauges that the database
holds. It reads the database because another replica may have received the webhooks.
"""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import Connection

from services.alert_relay import heartbeats
from services.alert_relay.clusters import store as clusters
from services.alert_relay.clusters.cluster import StoredCluster
from services.alert_relay.heartbeats import OwnAlert
from services.alert_relay.incidents import queries
from services.alert_relay.incidents.episodes import AlertGroup
from services.alert_relay.incidents.incident import IncidentState
from services.alert_relay.metrics import RelayMetrics
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.kit.health import Level, Measurement

log = structlog.get_logger()

MEASURE_SECONDS = 5.0


class AlertReporter(Protocol):
    """The part of the relay that the watchdog uses."""

    async def report(self, group: AlertGroup) -> None: ...


@dataclass(frozen=True, slots=True)
class Measured:
    """What the database holds."""

    incidents: dict[IncidentState, int]
    clusters: list[StoredCluster]
    own_alerts: set[OwnAlert]  #: the firing alerts that the relay raised itself


class Watchdog:
    """Measures incidents by state and the Watchdog alert's age, and raises alerts while one is overdue.

    Args:
        database: the relay's.
        metrics: of the service.
        relay: stores and notifies the alerts.
        configured: names of the clusters of the settings.
        max_age: seconds after which a Watchdog alert is overdue; 0: never.
        clock: the time.
    """

    def __init__(
        self,
        database: Database,
        metrics: RelayMetrics,
        relay: AlertReporter,
        *,
        configured: Collection[str],
        max_age: float,
        clock: Clock,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._relay = relay
        self._configured = configured
        self._max_age = max_age
        self._clock = clock
        # After a downtime of the relay itself, Alertmanager first gets `max_age` to deliver the Watchdog.
        self._started_at = clock.time()

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            with suppress_and_log("watchdog_failed"):
                await self.check()
            await asyncio.sleep(MEASURE_SECONDS)

    async def check(self) -> None:
        """Sets the gauges, and reports the alerts that fire or resolve now."""
        measured = await self.measure()
        if not self._max_age:
            return
        try:
            await self._report(measured)
        except Problem as problem:
            # The next check repeats it: the store is not available, or no chat is known yet.
            log.warning("watchdog_not_reported", error=str(problem))

    async def measure(self) -> Measured:
        """Sets the gauges; returns what they were read from."""
        measured = await self._database.read("measure", _measure)
        for state, number in measured.incidents.items():
            self._metrics.incidents.labels(state.value).set(number)
        received = [each.watchdog_at for each in measured.clusters if each.watchdog_at is not None]
        self._metrics.watchdog.beat(max(received, default=None))
        return measured

    async def _report(self, measured: Measured) -> None:
        now = self._clock.time()
        oldest = now - heartbeats.FORGET_SECONDS
        if any(beat.received_at < oldest for each in measured.clusters for beat in each.heartbeats):
            forget = partial(clusters.forget_heartbeats, before=oldest)
            await self._database.write("measure", forget)
        for group in heartbeats.changes(
            measured.clusters,
            measured.own_alerts,
            configured=self._configured,
            max_age=self._max_age,
            started_at=self._started_at,
            now=now,
        ):
            await self._relay.report(group)
            (alert,) = group.alerts
            event = "watchdog_overdue" if alert.firing else "watchdog_recovered"
            log.warning(event, cluster=group.cluster, alert=alert.name)

    async def check_health(self) -> Measurement:
        """Health probe: unknown until the first Watchdog alert, unhealthy when all clusters are overdue."""
        age = self._metrics.watchdog.age()
        if age is None:
            return Measurement(Level.UNKNOWN, {"error": "no Watchdog alert was received yet"})
        evidence = {"age_seconds": round(age, 1), "max_age_seconds": self._max_age}
        overdue = self._max_age > 0 and age > self._max_age
        return Measurement(Level.UNHEALTHY if overdue else Level.HEALTHY, evidence)


def _measure(connection: Connection) -> Measured:
    own_alerts = queries.firing(connection, (heartbeats.WATCHDOG_SILENT, heartbeats.PROMETHEUS_SILENT))
    return Measured(
        queries.counts(connection),
        clusters.stored(connection),
        {OwnAlert(*found) for found in own_alerts},
    )


@asynccontextmanager
async def run_watchdog(watchdog: Watchdog) -> AsyncIterator[Watchdog]:
    """Measures once, then checks again and again while the block runs."""
    await watchdog.measure()
    async with run_in_background(watchdog.run()):
        yield watchdog
