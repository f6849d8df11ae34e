"""Receives what people do in Telegram while the service runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from services.alert_relay.bot import handed_on
from services.alert_relay.bot.handed_on import HandedOn
from services.alert_relay.bot.handler import RelayHandler
from services.alert_relay.notifications.recipients import Recipients
from services.alert_relay.notifications.store import BOT
from services.alert_relay.relay import Relay
from services.alert_relay.settings import AlertRelaySettings
from services.kit.background import instance_name
from services.kit.clock import Clock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.engine import Outbox
from services.outbox.telegram.bot_api import Bot
from services.updates.metrics import UpdateMetrics
from services.updates.processor import UpdateDependencies
from services.updates.receiver import Receiver
from services.updates.source import Polling


@asynccontextmanager
async def receiving(
    settings: AlertRelaySettings,
    *,
    bot: Bot,
    relay: Relay,
    recipients: Recipients,
    outbox: Outbox,
    telemetry: Telemetry,
    metrics: UpdateMetrics,
    health: Health,
    clock: Clock,
) -> AsyncIterator[None]:
    """Receives updates while the block runs: of alert-relay's own bot, or those that the bridge hands on.

    Args:
        settings: of the service.
        bot: that sends the alerts.
        relay: counts what was done.
        recipients: the chats that get alerts.
        outbox: sends the answers.
        telemetry: of the service.
        metrics: of updates.
        health: gets a probe.
        clock: the time.
    """
    handler = RelayHandler(
        relay, recipients.known_chats, settings.alert_user_ids, own_bot=settings.has_own_bot
    )
    source = Polling(bot) if settings.has_own_bot else HandedOn(settings, clock)
    deps = UpdateDependencies(outbox.database, outbox, bot, source, telemetry, metrics, clock)
    name = BOT if settings.has_own_bot else handed_on.BOT
    receiver = Receiver(name, instance_name(), deps, handler)
    metrics.age.measure = lambda: {name: receiver.last_success_age()}
    health.add("telegram_updates", receiver.check)
    async with receiver.running():
        yield
