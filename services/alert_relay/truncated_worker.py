"""Fetches the alerts that a truncated webhook left out (``max_alerts``) from Alertmanager's API.

Alertmanager truncates a long group in the order of labels, not of severity, and never sends the rest.
The listed alerts are stored and notified at once; then this worker fetches the group until Alertmanager
answers or the webhook is too old. An alert of a truncated group resolves when Alertmanager no longer has it.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import structlog

from services.alert_relay import parse, truncated_store
from services.alert_relay.alertmanager_client import AlertmanagerClient, AlertmanagerGroups, NoAnswerError
from services.alert_relay.episodes import AlertGroup
from services.alert_relay.metrics import RelayMetrics, TruncatedOutcome
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.truncated_store import FetchedAlerts, TruncatedGroup
from services.contracts.alertmanager import Webhook
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry

log = structlog.get_logger()

POLL_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 60.0
GIVE_UP_SECONDS = 900.0
#: A restarted Alertmanager has no alerts until Prometheus has evaluated and sent them again. Only an
#: Alertmanager that has run for longer can show that an alert has resolved.
WARM_UP_SECONDS = 600.0


class CompletionStore(Protocol):
    """The part of the relay that the worker uses."""

    metrics: RelayMetrics

    async def complete(self, group: AlertGroup, fetched: FetchedAlerts, asked_at: float) -> bool: ...


class TruncatedWorker:
    """Completes truncated webhooks.

    Args:
        relay: stores, counts and enqueues the result.
        database: the relay's.
        client: of the Alertmanager that is called.
        cluster: that Alertmanager's cluster; it matters if several clusters post here.
        clock: the time.
    """

    def __init__(
        self,
        relay: CompletionStore,
        database: Database,
        client: AlertmanagerClient,
        *,
        cluster: str,
        clock: Clock,
    ) -> None:
        self._relay = relay
        self._database = database
        self._client = client
        self._cluster = cluster
        self._clock = clock

    async def run(self) -> None:
        """Works until cancelled."""
        wait = POLL_SECONDS
        with self._database.subscribe(truncated_store.CHANNEL) as changed:
            while True:
                changed.clear()
                remains = True
                with suppress_and_log("truncated_worker_failed"):
                    remains = await self.once()
                wait = min(2 * wait, LONGEST_WAIT_SECONDS) if remains else POLL_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await changed.wait()

    async def once(self) -> bool:
        """Fetches each truncated group once; returns whether some must be fetched again."""
        remaining = False
        groups = partial(truncated_store.truncated_groups, now=self._clock.time())
        for each in await self._database.read("truncated", groups):
            if self._clock.time() - each.last_received_at > GIVE_UP_SECONDS or not self._is_ours(each):
                await self._give_up(each)
                continue
            remaining |= not await self._complete(each)
        return remaining

    def _is_ours(self, truncated: TruncatedGroup) -> bool:
        """Whether the called Alertmanager knows this group; another cluster's alerts look resolved to it."""
        return truncated.clusters == 1 or truncated.cluster == self._cluster

    async def _complete(self, truncated: TruncatedGroup) -> bool:
        """Returns False if the group must be fetched again."""
        asked_at = self._clock.time()
        webhook = Webhook.model_validate_json(truncated.body)
        group = parse.alert_group(webhook, truncated.cluster, truncated.last_received_at)
        try:
            answer = await self._client.groups(group.group_labels)
        except NoAnswerError as error:
            log.warning("alertmanager_unreachable", error=str(error), group_key=truncated.group_key)
            return False
        fetched = _left_out(answer, group, asked_at)
        if not await self._relay.complete(group, fetched, asked_at):
            return False
        log.info("truncated_webhook_completed", group_key=truncated.group_key, fetched=len(fetched.alerts))
        return fetched.absence_counts

    async def _give_up(self, truncated: TruncatedGroup) -> None:
        self._relay.metrics.left_out.labels(TruncatedOutcome.MISSED.value).inc(truncated.truncated)
        log.error("truncated_webhook_given_up", group_key=truncated.group_key, alerts=truncated.truncated)
        group = (truncated.cluster, truncated.group_key)
        give_up = partial(truncated_store.mark_done, group=group, now=self._clock.time())
        await self._database.write("truncated", give_up)


def _left_out(answer: AlertmanagerGroups, group: AlertGroup, now: float) -> FetchedAlerts:
    """Returns Alertmanager's alerts of the group without those that the webhook listed."""
    listed = {alert.fingerprint for alert in group.alerts}
    same_group = [
        each
        for each in answer.groups
        if each.receiver.name == group.receiver and dict(each.labels) == dict(group.group_labels)
    ]
    missing = {
        alert.fingerprint: alert
        for each in same_group
        for alert in each.alerts
        if alert.fingerprint not in listed and alert.status.state == "active"
    }
    present = {alert.fingerprint for each in answer.groups for alert in each.alerts}
    firing = {alert.fingerprint for alert in group.alerts if alert.firing}
    return FetchedAlerts(
        tuple(parse.api_alert(alert) for alert in missing.values()),
        frozenset(present),
        # An Alertmanager without any of the alerts listed as firing is not the one that sent the webhook.
        absence_counts=now - answer.started_at > WARM_UP_SECONDS and (not firing or bool(firing & present)),
    )


@asynccontextmanager
async def run_truncated_worker(
    settings: AlertRelaySettings,
    relay: CompletionStore,
    database: Database,
    telemetry: Telemetry,
    clock: Clock,
) -> AsyncIterator[None]:
    """Runs the worker while the block runs; without ``ALERTMANAGER_URL`` it does nothing."""
    if not settings.alertmanager_url:
        yield
        return
    client = AlertmanagerClient(settings.alertmanager_url, telemetry)
    cluster = settings.cluster_of(settings.alertmanager_url)
    worker = TruncatedWorker(relay, database, client, cluster=cluster, clock=clock)
    try:
        async with run_in_background(worker.run()):
            yield
    finally:
        await client.close()
