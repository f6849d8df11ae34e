"""What a webhook left out (``max_alerts``) is fetched from Alertmanager, and told as well.

Alertmanager cuts a long group by the order of labels, not of severity, and never mentions again what it
cut. What the webhook lists is stored and told at once; then its group is asked for, until Alertmanager
answers or the webhook is too old. An alert that a cut webhook told of as resolved, or not at all, ends
when Alertmanager does not have it any more.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Protocol

import structlog

from services.alert_relay import parse, truncated_store
from services.alert_relay.alertmanager_client import AlertmanagerClient, NoAnswerError, Told
from services.alert_relay.episodes import Heard
from services.alert_relay.metrics import Fetched, RelayMetrics
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.truncated_store import Cut, Rest
from services.contracts.alertmanager import Webhook
from services.kit.background import run_in_background, suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry

log = structlog.get_logger()

LOOK_SECONDS = 5.0
LONGEST_WAIT_SECONDS = 60.0
GIVE_UP_SECONDS = 900.0
#: Restarted, Alertmanager knows nothing until Prometheus has evaluated and sent everything again; only
#: after this does it mean something that it does not have an alert.
SETTLED_SECONDS = 600.0


class Keeper(Protocol):
    """The relay, as far as it is needed here."""

    metrics: RelayMetrics

    async def complete(self, heard: Heard, rest: Rest, asked_at: float) -> bool: ...


class Completing:
    """See the module.

    Args:
        relay: stores, counts and hands on what was found.
        database: of the relay.
        client: of the one Alertmanager that is asked.
        cluster: which cluster that is, where more than one posts here.
        clock: the time.
    """

    def __init__(
        self, relay: Keeper, database: Database, client: AlertmanagerClient, *, cluster: str, clock: Clock
    ) -> None:
        self._relay = relay
        self._database = database
        self._client = client
        self._cluster = cluster
        self._clock = clock

    async def run(self) -> None:
        """Works until cancelled."""
        wait = LOOK_SECONDS
        with self._database.news(truncated_store.CHANNEL) as news:
            while True:
                news.clear()
                remains = True
                with suppress_and_log("completing_failed"):
                    remains = await self.once()
                wait = min(2 * wait, LONGEST_WAIT_SECONDS) if remains else LOOK_SECONDS
                with suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await news.wait()

    async def once(self) -> bool:
        """Asks for each group that was cut; true where something remains to be asked for."""
        remaining = False
        cut_groups = partial(truncated_store.cut_groups, now=self._clock.time())
        for cut in await self._database.read("completing", cut_groups):
            if self._clock.time() - cut.heard_at > GIVE_UP_SECONDS or not self._is_ours(cut):
                await self._give_up(cut)
                continue
            remaining |= not await self._complete(cut)
        return remaining

    def _is_ours(self, cut: Cut) -> bool:
        """Another cluster's alerts are not this one's to know: none of them there would mean nothing."""
        return cut.clusters == 1 or cut.cluster == self._cluster

    async def _complete(self, cut: Cut) -> bool:
        """False where it has to be asked again."""
        asked_at = self._clock.time()
        webhook = Webhook.model_validate_json(cut.body)
        heard = parse.heard(webhook, cut.cluster, cut.heard_at)
        try:
            told = await self._client.groups(heard.group_labels)
        except NoAnswerError as error:
            log.warning("alertmanager_not_asked", error=str(error), group_key=cut.group_key)
            return False
        rest = _rest(told, heard, asked_at)
        if not await self._relay.complete(heard, rest, asked_at):
            return False
        log.info("webhook_completed", group_key=cut.group_key, fetched=len(rest.alerts))
        return rest.absence_counts

    async def _give_up(self, cut: Cut) -> None:
        self._relay.metrics.left_out.labels(Fetched.MISSED.value).inc(cut.truncated)
        log.error("alerts_left_out", group_key=cut.group_key, alerts=cut.truncated)
        give_up = partial(truncated_store.asked, group=(cut.cluster, cut.group_key), now=self._clock.time())
        await self._database.write("completing", give_up)


def _rest(told: Told, heard: Heard, now: float) -> Rest:
    """What Alertmanager has besides what the webhook listed."""
    listed = {alert.fingerprint for alert in heard.alerts}
    mine = [
        group
        for group in told.groups
        if group.receiver.name == heard.receiver and dict(group.labels) == dict(heard.group_labels)
    ]
    missing = {
        alert.fingerprint: alert
        for group in mine
        for alert in group.alerts
        if alert.fingerprint not in listed and alert.status.state == "active"
    }
    present = {alert.fingerprint for group in told.groups for alert in group.alerts}
    firing = {alert.fingerprint for alert in heard.alerts if alert.firing}
    return Rest(
        tuple(parse.fetched(alert) for alert in missing.values()),
        frozenset(present),
        # None of what the webhook lists as firing is there: this is not the Alertmanager that sent it.
        absence_counts=now - told.started_at > SETTLED_SECONDS and (not firing or bool(firing & present)),
    )


@asynccontextmanager
async def completing(
    settings: AlertRelaySettings, relay: Keeper, database: Database, telemetry: Telemetry, clock: Clock
) -> AsyncIterator[None]:
    """Fetches what webhooks leave out while the block runs, where Alertmanager can be asked."""
    if not settings.alertmanager_url:
        yield
        return
    client = AlertmanagerClient(settings.alertmanager_url, telemetry)
    cluster = settings.cluster_of(settings.alertmanager_url)
    work = Completing(relay, database, client, cluster=cluster, clock=clock)
    try:
        async with run_in_background(work.run()):
            yield
    finally:
        await client.close()
