"""Dead man's switch: opens an incident when the Watchdog alert is overdue, and resolves it when it is back.

The Watchdog alert always fires, so it shows that Prometheus and Alertmanager work. If it stops, no other
alert can be trusted to arrive, and neither program can report that. The relay therefore raises the alert
``WatchdogSilent`` itself. The same loop measures the gauges that the database holds.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Protocol

import structlog
from sqlalchemy import Connection

from services.alert_relay import queries
from services.alert_relay.episodes import Alert, AlertGroup, IncidentState
from services.alert_relay.metrics import RelayMetrics
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock, rfc3339
from services.kit.database.connect import Database
from services.kit.health import Level, Measurement

log = structlog.get_logger()

MEASURE_SECONDS = 5.0
ALERT_NAME = "WatchdogSilent"


class AlertReporter(Protocol):
    """The part of the relay that the dead man's switch uses."""

    async def report(self, group: AlertGroup) -> None: ...


class DeadMansSwitch:
    """Reports the alert ``WatchdogSilent`` of each cluster when it fires or resolves, and after a start.

    The store ignores a report of what it knows.

    Args:
        relay: stores and notifies the alert.
        max_age: seconds after which the Watchdog alert is overdue.
        clock: the time.
    """

    def __init__(self, relay: AlertReporter, max_age: float, clock: Clock) -> None:
        self._relay = relay
        self._max_age = max_age
        self._clock = clock
        # After a downtime of the relay itself, Alertmanager first gets `max_age` to deliver the Watchdog.
        self._started_at = clock.time()
        self._reported: dict[str, bool] = {}

    async def check(self, received: Mapping[str, float]) -> None:
        """Reports what has changed since the last check.

        Args:
            received: when each cluster's Watchdog alert was last received, seconds since the epoch.
                A cluster that never sent one is not in it.

        Raises:
            Problem: 503, the report is not known to be stored; the next check repeats it.
        """
        now = self._clock.time()
        for cluster, received_at in received.items():
            overdue = now - max(received_at, self._started_at) > self._max_age
            recent = now - received_at <= self._max_age
            reported = self._reported.get(cluster)
            if (not overdue and not recent) or reported is overdue:
                continue
            # After a start the last report is unknown; the store ignores a repeated one.
            await self._relay.report(_alert_group(cluster, received_at, now, firing=overdue))
            self._reported[cluster] = overdue
            if overdue:
                log.error("watchdog_overdue", cluster=cluster)
            elif reported:
                log.info("watchdog_recovered", cluster=cluster)


def _alert_group(cluster: str, received_at: float, now: float, *, firing: bool) -> AlertGroup:
    labels = {
        "alertname": ALERT_NAME,
        "severity": "critical",
        "service": "alert-path",
        "alertmanager": cluster,
    }
    alert = Alert(
        fingerprint=hashlib.sha256(f"{ALERT_NAME} {cluster}".encode()).hexdigest()[:16],
        firing=firing,
        labels=labels,
        annotations={
            "summary": "The Watchdog alert is overdue: Prometheus or Alertmanager may be down",
            "description": (
                f"The Watchdog alert came last at {rfc3339(received_at)}. No other alert can be trusted"
                " to arrive until it is back."
            ),
            "runbook_url": "docs/runbook.md#watchdog",
        },
        starts_at=received_at,
        ends_at=None if firing else now,
    )
    return AlertGroup(
        cluster=cluster,
        group_key=ALERT_NAME,
        group_labels={"alertname": ALERT_NAME},
        receiver="",
        status="",
        external_url="",  # Alertmanager does not know this alert, so it could not silence it.
        reason="",
        truncated=0,
        alerts=(alert,),
    )


class Watchdog:
    """Measures incidents by state and the Watchdog alert's age, and runs the dead man's switch.

    It reads the database because another replica may have received the webhooks.
    """

    def __init__(
        self, database: Database, metrics: RelayMetrics, switch: DeadMansSwitch, max_age: float
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._switch = switch
        self._max_age = max_age

    async def run(self) -> None:
        """Measures until cancelled."""
        while True:
            with suppress_and_log("watchdog_failed"):
                await self.measure()
            await asyncio.sleep(MEASURE_SECONDS)

    async def measure(self) -> None:
        counts, received = await self._database.read("measure", _measure)
        for state, number in counts.items():
            self._metrics.incidents.labels(state.value).set(number)
        self._metrics.watchdog.beat(max(received.values(), default=None))
        await self._switch.check(received)

    async def check_health(self) -> Measurement:
        """Health probe: unknown until the first Watchdog alert, unhealthy when all clusters are overdue."""
        age = self._metrics.watchdog.age()
        if age is None:
            return Measurement(Level.UNKNOWN, {"error": "no Watchdog alert was received yet"})
        level = Level.HEALTHY if age <= self._max_age else Level.UNHEALTHY
        return Measurement(level, {"age_seconds": round(age, 1), "max_age_seconds": self._max_age})


def _measure(connection: Connection) -> tuple[dict[IncidentState, int], dict[str, float]]:
    return queries.counts(connection), queries.watchdog_times(connection)


@asynccontextmanager
async def run_watchdog(
    database: Database, metrics: RelayMetrics, switch: DeadMansSwitch, max_age: float
) -> AsyncIterator[Watchdog]:
    """Measures once, then again and again while the block runs."""
    watchdog = Watchdog(database, metrics, switch, max_age)
    await watchdog.measure()
    async with run_in_background(watchdog.run()):
        yield watchdog
