"""Counts the final outcomes of notifications, and how long delivered ones took."""

from collections.abc import Sequence

from services.alert_relay.channels.store import CHANNELS_BOT
from services.alert_relay.channels.target import Channel
from services.alert_relay.metrics import NotificationOutcome, RelayMetrics
from services.alert_relay.notifications import about_delivery
from services.alert_relay.senders.channel_sender import TargetNumbers
from services.outbox.messages import Claimed, MessageState, Origin, Settled, is_failure

_OUTCOMES = {
    MessageState.DELIVERED: NotificationOutcome.DELIVERED,
    MessageState.DEAD_LETTER: NotificationOutcome.FAILED,
    MessageState.SUPPRESSED: NotificationOutcome.SUPPRESSED,
    MessageState.EXPIRED: NotificationOutcome.FAILED,
    MessageState.UNKNOWN: NotificationOutcome.UNKNOWN,
}


class OutcomeCounter:
    """Counts the final outcomes of notifications and the delay of delivered ones.

    Args:
        metrics: of the service.
        numbers: the targets of messages that do not go to Telegram.
    """

    def __init__(self, metrics: RelayMetrics, numbers: TargetNumbers) -> None:
        self._metrics = metrics
        self._numbers = numbers

    async def observe(self, settled: Sequence[Settled]) -> None:
        """Counts what the outbox settled; a message that will be retried has no final outcome yet."""
        for each in settled:
            outcome = _OUTCOMES.get(each.decision.state)
            # An answer of the bot is no notification; an edit that a later one replaced keeps nothing back.
            replaced = outcome is NotificationOutcome.SUPPRESSED and not is_failure(
                each.decision.state, each.result.reason
            )
            if outcome is None or replaced or each.message.origin is not Origin.ALERT:
                continue
            if outcome is NotificationOutcome.FAILED and about_delivery.is_about_failures(each.message.title):
                outcome = NotificationOutcome.UNREPORTED
            channel = await self._channel(each.message)
            self._metrics.notifications.labels(channel.value, outcome.value).inc()
            if outcome is NotificationOutcome.DELIVERED:
                self._metrics.delay.observe(max(0.0, each.result.finished_at - each.message.accepted_at))

    async def _channel(self, message: Claimed) -> Channel:
        if message.bot != CHANNELS_BOT:
            return Channel.TELEGRAM
        target = await self._numbers.target(message.chat_id)
        return Channel.TELEGRAM if target is None else target.channel
