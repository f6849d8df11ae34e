"""Opens what listens to people: updates, questions, commands, and the results told to programs."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from services.bridge.approvals import expiry
from services.bridge.approvals import store as approvals
from services.bridge.approvals.after_commit import News
from services.bridge.approvals.metrics import ApprovalMetrics
from services.bridge.bots import DEFAULT, Bot
from services.bridge.commands.snapshot import Measured
from services.bridge.settings import BridgeSettings
from services.bridge.updates import receiver, responses
from services.bridge.updates.active_users import People
from services.bridge.updates.metrics import UpdateMetrics
from services.bridge.updates.processor import Parts
from services.bridge.updates.receiver import Receiver
from services.bridge.updates.source import Polling, Source, Webhook
from services.bridge.webhooks import signing, worker
from services.bridge.webhooks.destinations import Destinations
from services.bridge.webhooks.metrics import WebhookMetrics
from services.bridge.webhooks.worker import WebhookWorker
from services.kit.clock import Clock
from services.kit.health import Health
from services.kit.instance import instance_name
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.auth import kept
from services.outbox.engine import Outbox
from services.outbox.telegram import bot_api

#: Whose tables the bridge's database holds besides the engine's.
PACKAGES = (
    "services.bridge.webhooks",
    "services.bridge.approvals",
    "services.bridge.updates",
    "services.bridge.commands",
)
#: Units of work, for the database's metrics.
OPERATIONS = (
    *receiver.OPERATIONS,
    *worker.OPERATIONS,
    "approval_ask",
    "approval_answer",
    "approval_cancel",
    "approval_expire",
)
#: What of theirs goes when it is old, by table.
FORGETS = {"approval": approvals.forget, "response": responses.forget}


@dataclass(frozen=True, slots=True)
class Inbound:
    """What the routes need.

    Args:
        news: publishes changes of approvals after their commit.
        receivers: of updates, by the name of the bot.
        destinations: which URLs may be called.
    """

    news: News
    receivers: Mapping[str, Receiver]
    destinations: Destinations


@dataclass(frozen=True, slots=True)
class AnswerMetrics:
    updates: UpdateMetrics
    approvals: ApprovalMetrics
    webhooks: WebhookMetrics

    @classmethod
    def of(cls, telemetry: Telemetry, bots: Iterable[str]) -> "AnswerMetrics":
        registry = telemetry.registry
        return cls(UpdateMetrics(registry, bots), ApprovalMetrics(registry), WebhookMetrics(registry))


@asynccontextmanager
async def open_answers(
    settings: BridgeSettings,
    *,
    outbox: Outbox,
    bots: Mapping[str, Bot],
    speaking: Mapping[str, bot_api.Bot],
    telemetry: Telemetry,
    metrics: AnswerMetrics,
    health: Health,
    clock: Clock,
) -> AsyncIterator[Inbound]:
    """Listens for the length of the block; yields what the routes need.

    Args:
        settings: of the bridge.
        outbox: the engine.
        bots: what is set for each bot.
        speaking: each bot's calls, by the same names.
        telemetry: of the service.
        metrics: of listening.
        health: each bot is a component.
        clock: the time.
    """
    database = outbox.database
    news = News(outbox, metrics.approvals, clock)
    allowed = Destinations(private=settings.webhook_allow_private, loopback=settings.uses_sandbox)
    webhooks = WebhookWorker(
        database,
        secret=await _signing_secret(settings),
        allowed=allowed,
        timeout=settings.webhook_timeout_seconds,
        telemetry=telemetry,
        metrics=metrics.webhooks,
        clock=clock,
    )
    measured = Measured(outbox, health, telemetry, clock)
    receivers = {
        name: Receiver(
            name,
            instance_name(),
            bot.allowed,
            Parts(
                database=database,
                outbox=outbox,
                bot=speaking[name],
                source=_source(bot, speaking[name], clock),
                measured=measured,
                news=news,
                telemetry=telemetry,
                metrics=metrics.updates,
                clock=clock,
            ),
        )
        for name, bot in bots.items()
    }
    metrics.updates.age.measure = lambda: {name: receiving.age() for name, receiving in receivers.items()}
    for name, receiving in receivers.items():
        of = "telegram_updates" if name == DEFAULT else f"telegram_updates:{name}"
        health.add(of, receiving.check, every=2.0)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(webhooks.running())
        expiring = asyncio.create_task(expiry.run(database, clock, news.closed))
        stack.push_async_callback(_end, expiring)
        people = People(database, metrics.updates.active_users, settings.retention_days, clock)
        stack.push_async_callback(_end, asyncio.create_task(people.run()))
        for receiving in receivers.values():
            await stack.enter_async_context(receiving.running())
        yield Inbound(news, receivers, allowed)


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _signing_secret(settings: BridgeSettings) -> str:
    given = settings.webhook_signing_secret.get_secret_value()
    if given:
        return given
    path = settings.data_dir / "webhook_secret"
    secret, _ = await asyncio.to_thread(kept, path, signing.new_secret)
    return secret


def _source(bot: Bot, speaking: bot_api.Bot, clock: Clock) -> Source:
    if bot.webhook_url:
        return Webhook(speaking, bot.webhook_url, bot.webhook_secret, clock)
    return Polling(speaking)
