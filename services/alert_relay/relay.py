"""Takes a webhook in: bounded in number and in time, counted once it is stored."""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog

from services.alert_relay import parse, store, truncated_store
from services.alert_relay.episodes import Heard
from services.alert_relay.metrics import Ending, Fetched, RelayMetrics
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.store import Addressed, Received
from services.alert_relay.truncated_store import Rest
from services.contracts.alertmanager import Webhook
from services.kit.clock import Clock
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.engine import Outbox
from services.outbox.intake import enqueue
from services.outbox.messages import MessageState, Settled

log = structlog.get_logger()

#: Alertmanager waits for an answer for as long as its group_interval, and then does it all again.
STORE_WITHIN_SECONDS = 5.0
#: More webhooks than this at once are refused: Alertmanager comes again within a second.
LARGEST_CROWD = 64
#: An overload is a 503, never a 429: Alertmanager retries a 429 only at its next group_interval.
OVERLOADED = 503


class Relay:
    """See the module."""

    def __init__(
        self,
        *,
        settings: AlertRelaySettings,
        outbox: Outbox,
        telemetry: Telemetry,
        metrics: RelayMetrics,
        clock: Clock,
        store_within: float = STORE_WITHIN_SECONDS,
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._telemetry = telemetry
        self.metrics = metrics
        self._clock = clock
        self._store_within = store_within
        self._under_way = 0

    async def receive(self, webhook: Webhook, body: str, parent: TraceContext | None) -> float:
        """Stores a webhook with all that follows from it.

        Args:
            webhook: as it was read.
            body: as it came.
            parent: the caller's span.

        Returns:
            When it was received, seconds since the epoch; it is durable now.

        Raises:
            Problem: 503, it is not known to be stored. Sending it again does no harm.
        """
        if self._under_way >= LARGEST_CROWD:
            raise Problem(OVERLOADED, "Overloaded", "Too many webhooks are being stored.")
        now = self._clock.time()
        to = self._addressed(parent)
        heard = parse.heard(webhook, self._settings.cluster_of(webhook.externalURL), now)
        self._under_way += 1
        try:
            async with asyncio.timeout(self._store_within):
                received = await self._outbox.database.write(
                    "receive",
                    partial(store.receive, heard=heard, body=body, to=to, now=now),
                    notify=enqueue.CHANNEL,
                )
        except TimeoutError as error:
            detail = f"The webhook was not stored within {self._store_within:g} s."
            raise Problem(OVERLOADED, "Overloaded", detail) from error
        finally:
            self._under_way -= 1
        self._count(webhook, received, now)
        return now

    async def complete(self, heard: Heard, rest: Rest, asked_at: float) -> bool:
        """Stores what a webhook left out; false where the group was heard of again meanwhile.

        Raises:
            Problem: 503, it is not known to be stored.
        """
        to, now = self._addressed(), self._clock.time()
        work = partial(truncated_store.complete, heard=heard, rest=rest, asked_at=asked_at, to=to, now=now)
        completed = await self._outbox.database.write("complete", work, notify=enqueue.CHANNEL)
        if completed is None:
            return False
        self.metrics.left_out.labels(Fetched.FETCHED.value).inc(completed.opened)
        self._tell(completed.received)
        return True

    async def tell_of(self, heard: Heard) -> None:
        """Stores what the relay itself found out, and tells people what of it is new.

        Raises:
            Problem: 503, it is not known to be stored.
        """
        work = partial(store.tell_of, heard=heard, to=self._addressed(), now=self._clock.time())
        self._tell(await self._outbox.database.write("tell_of", work, notify=enqueue.CHANNEL))

    def _addressed(self, parent: TraceContext | None = None) -> Addressed:
        own = parent.child() if parent else self._telemetry.new_trace()
        return Addressed(self._settings.recipients, own, parent)

    def _count(self, webhook: Webhook, received: Received, now: float) -> None:
        for alert in webhook.alerts:
            self.metrics.received.labels(alert.status.value).inc()
        if received.watchdog:
            self.metrics.watchdog.beat(now)
        if webhook.truncatedAlerts:
            self._left_out(webhook.truncatedAlerts)
        self._tell(received)
        log.info(
            "webhook_stored",
            group_key=webhook.groupKey,
            alerts=len(webhook.alerts),
            truncated=webhook.truncatedAlerts,
            notices=len(received.submissions),
        )

    def _tell(self, received: Received) -> None:
        """After the commit: counts, and hands over what is on its way."""
        for seconds in received.lasted:
            self.metrics.resolve.observe(seconds)
        self._outbox.record_stored(received.submissions, self._clock.time())

    def _left_out(self, alerts: int) -> None:
        """Who can ask Alertmanager does so now; where nobody can, they are missed."""
        if self._settings.alertmanager_url:
            self._outbox.database.notify(truncated_store.CHANNEL)
        else:
            self.metrics.left_out.labels(Fetched.MISSED.value).inc(alerts)


_ENDINGS = {
    MessageState.DELIVERED: Ending.DELIVERED,
    MessageState.DEAD_LETTER: Ending.FAILED,
    MessageState.SUPPRESSED: Ending.FAILED,
    MessageState.EXPIRED: Ending.FAILED,
    MessageState.UNKNOWN: Ending.UNKNOWN,
}


class Endings:
    """Counts how notifications ended, as the outbox settles them."""

    def __init__(self, metrics: RelayMetrics) -> None:
        self._metrics = metrics

    async def observe(self, settled: Sequence[Settled]) -> None:
        for each in settled:
            ending = _ENDINGS.get(each.decision.state)
            if ending is None:
                continue
            self._metrics.notifications.labels(store.CHANNEL, ending.value).inc()
            if ending is Ending.DELIVERED:
                self._metrics.delay.observe(max(0.0, each.result.finished_at - each.message.accepted_at))
