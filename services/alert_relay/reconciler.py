"""Reads the alerts of each cluster from its Alertmanagers, and corrects what webhooks missed.

One task for each cluster of the settings; :mod:`services.alert_relay.alertmanager.snapshot`
decides what is corrected.
Several replicas of the relay may read the same cluster: the transaction that corrects locks the cluster.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import structlog
from sqlalchemy import Connection

from services.alert_relay import snapshot_store
from services.alert_relay.alertmanager import config as alertmanager_config
from services.alert_relay.alertmanager import parse
from services.alert_relay.alertmanager.client import AlertmanagerAlerts, AlertmanagerClient, NoAnswerError
from services.alert_relay.alertmanager.config import RepeatIntervals
from services.alert_relay.alertmanager.snapshot import Correction, Snapshot
from services.alert_relay.clusters import configuration
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.metrics import RelayMetrics, TruncatedOutcome
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.snapshot_store import Cluster, TruncatedWebhook
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry

log = structlog.get_logger()

#: While a truncated webhook waits for its alerts.
RETRY_SECONDS = 5.0
GIVE_UP_SECONDS = 900.0
#: A restarted Alertmanager has no alerts until Prometheus has evaluated and sent them again. Only an
#: Alertmanager that has run for longer can show that an alert has resolved.
WARM_UP_SECONDS = 600.0


class CorrectionStore(Protocol):
    """The part of the relay that a reconciler uses."""

    metrics: RelayMetrics
    repeats: dict[str, RepeatIntervals]

    async def correct(
        self, cluster: Cluster, snapshot: Snapshot, missed_since: Mapping[str, float]
    ) -> Correction: ...


class Reconciler:
    """Reads one cluster.

    Args:
        cluster: of the settings, with an API URL.
        relay: stores the corrections and notifies people.
        database: the relay's.
        clients: of all Alertmanagers of the cluster.
        read_seconds: from one reading to the next.
        clock: the time.
    """

    def __init__(
        self,
        cluster: ClusterConfiguration,
        relay: CorrectionStore,
        database: Database,
        clients: Sequence[AlertmanagerClient],
        *,
        read_seconds: float,
        clock: Clock,
    ) -> None:
        self._read_seconds = read_seconds
        urls = tuple(configuration.without_password(url) for url in cluster.api_urls)
        self._cluster = Cluster(cluster.name, urls, cluster.external_urls[0])
        self._relay = relay
        self._database = database
        self._clients = clients
        self._clock = clock
        self._missed_since: Mapping[str, float] = {}

    async def run(self) -> None:
        """Works until cancelled."""
        with self._database.subscribe(snapshot_store.CHANNEL) as changed:
            while True:
                changed.clear()
                wait = self._read_seconds
                with suppress_and_log("reconciler_failed"):
                    if await self.once():
                        wait = min(wait, RETRY_SECONDS)
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await changed.wait()

    async def once(self) -> bool:
        """Reads the cluster once; returns whether truncated webhooks still wait for their alerts."""
        at = self._clock.time()
        answers = await self._answers()
        truncated = await self._database.read(
            "truncated", partial(snapshot_store.truncated_webhooks, cluster=self._cluster.name)
        )
        if answers:
            await self._correct(self._snapshot(answers, at))
            if len(answers) == len(self._clients):
                self._relay.metrics.reconciled.beat(self._cluster.name, at)
            done = [each for each in truncated if each.received_at <= at]
        else:
            done = [each for each in truncated if at - each.received_at > GIVE_UP_SECONDS]
            self._count_missed(done)
        if done:
            await self._database.write(
                "truncated", partial(snapshot_store.mark_done, webhooks=done, now=self._clock.time())
            )
        return len(done) < len(truncated)

    async def _answers(self) -> list[AlertmanagerAlerts]:
        """Returns the answers of those Alertmanagers of the cluster that answer."""
        found = await asyncio.gather(*(self._answer(client) for client in self._clients))
        return [answer for answer in found if answer is not None]

    async def _answer(self, client: AlertmanagerClient) -> AlertmanagerAlerts | None:
        try:
            return await client.alerts()
        except NoAnswerError as error:
            log.warning("alertmanager_unreachable", cluster=self._cluster.name, error=str(error))
            return None

    def _snapshot(self, answers: Sequence[AlertmanagerAlerts], at: float) -> Snapshot:
        youngest = max(answer.started_at for answer in answers)
        texts = [answer.configuration for answer in answers]
        listed = parse.listed_alerts(answer.groups for answer in answers)
        return Snapshot(
            at,
            listed,
            # An Alertmanager that does not answer may have an alert that the others do not have.
            absence_counts=len(answers) == len(self._clients) and at - youngest > WARM_UP_SECONDS,
            repeats=alertmanager_config.repeat_intervals(texts[0]),
            shows_mutes=all(map(parse.shows_mutes, (answer.groups for answer in answers)))
            or not any(map(alertmanager_config.has_time_intervals, texts)),
        )

    async def _correct(self, snapshot: Snapshot) -> None:
        self._relay.repeats[self._cluster.name] = snapshot.repeats
        found, proves = await self._database.read("correct", partial(self._difference, found=snapshot))
        if proves or not found.empty:
            found = await self._relay.correct(self._cluster, snapshot, self._missed_since)
            for observation in found.observations:
                log.info(
                    "alert_corrected",
                    cluster=self._cluster.name,
                    alert=observation.alert.name,
                    change=observation.change.value,
                    ended_by=observation.ended_by.value,
                )
        self._missed_since = {each: self._missed_since.get(each, snapshot.at) for each in found.waiting}

    def _difference(self, connection: Connection, found: Snapshot) -> tuple[Correction, bool]:
        """Returns the correction, and whether this snapshot is the first that shows the cluster's alerts."""
        now = self._clock.time()
        missing = snapshot_store.difference(connection, self._cluster, found, self._missed_since, now)
        return missing, snapshot_store.proves(connection, self._cluster, found)

    def _count_missed(self, webhooks: Sequence[TruncatedWebhook]) -> None:
        for each in webhooks:
            self._relay.metrics.left_out.labels(TruncatedOutcome.MISSED.value).inc(each.truncated)
            labels = dict(each.group.labels)
            log.error(
                "left_out_alerts_missed", cluster=self._cluster.name, group=labels, alerts=each.truncated
            )


@asynccontextmanager
async def run_reconcilers(
    settings: AlertRelaySettings,
    relay: CorrectionStore,
    database: Database,
    telemetry: Telemetry,
    clock: Clock,
) -> AsyncIterator[None]:
    """Runs a reconciler for each cluster with an API URL while the block runs."""
    async with AsyncExitStack() as stack:
        for cluster in settings.clusters:
            if not cluster.api_urls:
                continue
            clients = [AlertmanagerClient(url, telemetry) for url in cluster.api_urls]
            for client in clients:
                stack.push_async_callback(client.close)
            relay.metrics.reconciled.start(cluster.name)
            reconciler = Reconciler(
                cluster,
                relay,
                database,
                clients,
                read_seconds=settings.alertmanager_read_seconds,
                clock=clock,
            )
            await stack.enter_async_context(run_in_background(reconciler.run()))
        yield
