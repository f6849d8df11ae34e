"""Opens what handles people's actions: updates of every bot, approvals, commands, and result webhooks."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from services.bridge.approvals import expiry, reminders
from services.bridge.approvals import store as approvals
from services.bridge.approvals.after_commit import ApprovalPublisher
from services.bridge.approvals.approval import CLOSED, AnswerOutcome, AnswerVia
from services.bridge.approvals.undelivered import UndeliveredWatcher
from services.bridge.bots import DEFAULT, Bot
from services.bridge.commands.snapshot import SnapshotReader
from services.bridge.first_chat import choice
from services.bridge.first_chat.choice import FirstChat
from services.bridge.metrics import ApprovalMetrics, WebhookMetrics
from services.bridge.settings import BridgeSettings
from services.bridge.tracking.totals import TotalsCounter
from services.bridge.updates import responses
from services.bridge.updates.active_users import ActiveUserCounter
from services.bridge.updates.handler import BridgeHandler
from services.bridge.updates.metrics import PeopleMetrics
from services.bridge.webhooks.destinations import Destinations
from services.bridge.webhooks.store import State as WebhookState
from services.bridge.webhooks.worker import WebhookWorker
from services.kit.background import instance_name
from services.kit.clock import Clock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web import webhook_signatures
from services.kit.web.auth import read_or_create_secret
from services.outbox.engine import Outbox
from services.outbox.intake import digests, repeats
from services.outbox.telegram import bot_api
from services.updates.metrics import UpdateMetrics
from services.updates.processor import UpdateDependencies
from services.updates.receiver import Receiver
from services.updates.source import Polling, Source, Webhook

#: Packages whose migrations the bridge's database needs, besides the engine's.
PACKAGES = (
    "services.bridge.webhooks",
    "services.bridge.approvals",
    "services.bridge.updates",
    "services.bridge.commands",
    choice.PACKAGE,
)
#: For retention: table → function that deletes a portion of its old rows.
DELETE_OLD = {
    "approval": approvals.delete_closed,
    "response": responses.delete_old,
    "repeats": repeats.delete_old,
    "digest": digests.delete_old,
}


@dataclass(frozen=True, slots=True)
class Inbound:
    """What the routes need.

    Args:
        publisher: publishes changes of approvals after their commit.
        receivers: of updates, by the name of the bot.
        bot_clients: the Bot API client of each bot, by the same names.
        destinations: which URLs may be called.
    """

    publisher: ApprovalPublisher
    receivers: Mapping[str, Receiver]
    bot_clients: Mapping[str, bot_api.Bot]
    destinations: Destinations


@dataclass(frozen=True, slots=True)
class InboundMetrics:
    """Metrics of updates, people, approvals and result webhooks."""

    updates: UpdateMetrics
    people: PeopleMetrics
    approvals: ApprovalMetrics
    webhooks: WebhookMetrics

    @classmethod
    def of(cls, telemetry: Telemetry, bots: Iterable[str]) -> "InboundMetrics":
        """Registers them.

        Args:
            telemetry: of the service.
            bots: names of all bots.
        """
        registry = telemetry.registry
        return cls(
            UpdateMetrics(registry, bots),
            PeopleMetrics(registry),
            ApprovalMetrics(registry, closed=CLOSED, via=AnswerVia, outcomes=AnswerOutcome),
            WebhookMetrics(registry, WebhookState),
        )


def destinations_of(settings: BridgeSettings) -> Destinations:
    """Which URLs of clients may be called."""
    return Destinations(private=settings.webhook_allow_private, loopback=settings.uses_sandbox)


@asynccontextmanager
async def open_inbound(
    settings: BridgeSettings,
    *,
    outbox: Outbox,
    totals: TotalsCounter,
    bots: Mapping[str, Bot],
    first_chat: FirstChat,
    bot_clients: Mapping[str, bot_api.Bot],
    telemetry: Telemetry,
    metrics: InboundMetrics,
    health: Health,
    clock: Clock,
) -> AsyncIterator[Inbound]:
    """Runs receivers, expiry and webhooks for the length of the block; yields what the routes need.

    Args:
        settings: of the bridge.
        outbox: the engine.
        totals: of all replicas, for commands.
        bots: settings of each bot.
        first_chat: of bots that have none in the settings.
        bot_clients: the Bot API client of each bot, by the same names.
        telemetry: of the service.
        metrics: of this part.
        health: gets a component for each bot.
        clock: source of the time.
    """
    database = outbox.database
    publisher = ApprovalPublisher(outbox, metrics.approvals, clock)
    destinations = destinations_of(settings)
    webhooks = WebhookWorker(
        database,
        secret=await _signing_secret(settings),
        allowed=destinations,
        timeout=settings.webhook_timeout_seconds,
        telemetry=telemetry,
        metrics=metrics.webhooks,
        clock=clock,
    )
    snapshots = SnapshotReader(outbox, totals, health, telemetry)
    receivers = {
        name: Receiver(
            name,
            instance_name(),
            UpdateDependencies(
                database=database,
                outbox=outbox,
                bot=bot_clients[name],
                source=_source(bot, bot_clients[name], clock),
                telemetry=telemetry,
                metrics=metrics.updates,
                clock=clock,
            ),
            BridgeHandler(
                name,
                database=database,
                first_chat=first_chat,
                snapshots=snapshots,
                publisher=publisher,
                metrics=metrics.people,
                clock=clock,
            ),
        )
        for name, bot in bots.items()
    }
    metrics.updates.age.measure = lambda: {name: one.last_success_age() for name, one in receivers.items()}
    for name, one in receivers.items():
        component = "telegram_updates" if name == DEFAULT else f"telegram_updates:{name}"
        health.add(component, one.check, every=2.0)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(webhooks.running())
        expiring = asyncio.create_task(expiry.run(database, clock, publisher.closed))
        stack.push_async_callback(_stop, expiring)
        reminding = asyncio.create_task(reminders.run(database, clock, publisher.sent))
        stack.push_async_callback(_stop, reminding)
        watcher = UndeliveredWatcher(database, clock, publisher.reach_changed)
        stack.push_async_callback(_stop, asyncio.create_task(watcher.run()))
        counter = ActiveUserCounter(database, metrics.people.active_users, settings.retention_days, clock)
        stack.push_async_callback(_stop, asyncio.create_task(counter.run()))
        for one in receivers.values():
            await stack.enter_async_context(one.running())
        yield Inbound(publisher, receivers, bot_clients, destinations)


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _signing_secret(settings: BridgeSettings) -> str:
    """The configured secret, else one that is created and stored in the data directory."""
    given = settings.webhook_signing_secret.get_secret_value()
    if given:
        return given
    path = settings.data_dir / "webhook_secret"
    secret, _ = await asyncio.to_thread(read_or_create_secret, path, webhook_signatures.new_secret)
    return secret


def _source(bot: Bot, client: bot_api.Bot, clock: Clock) -> Source:
    if bot.webhook_url:
        return Webhook(client, bot.webhook_url, bot.webhook_secret, clock)
    return Polling(client)
