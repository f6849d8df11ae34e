"""Builds alert-relay: settings, telemetry, database, outbox, background work and routes."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from fastapi import FastAPI

from services.alert_relay.api import clusters as clusters_api
from services.alert_relay.api import dead_letters as dead_letters_api
from services.alert_relay.api import digest as digest_api
from services.alert_relay.api import incidents as incidents_api
from services.alert_relay.api import maintenance as maintenance_api
from services.alert_relay.api import on_call as on_call_api
from services.alert_relay.api import targets as targets_api
from services.alert_relay.api import webhooks as webhooks_api
from services.alert_relay.bot.inbound import receiving
from services.alert_relay.clusters import membership
from services.alert_relay.escalation.failures import FailureObserver
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.notifications import refusing_chats, render
from services.alert_relay.notifications import store as notification_store
from services.alert_relay.notifications.recipients import Recipients
from services.alert_relay.on_call.document import read_policies
from services.alert_relay.on_call.policies import targets_of
from services.alert_relay.outcomes import OutcomeCounter
from services.alert_relay.reconciler import run_reconcilers
from services.alert_relay.relay import Relay
from services.alert_relay.retention import run_retention
from services.alert_relay.senders import channel_sender
from services.alert_relay.senders.channel_sender import ChannelSender, TargetNumbers
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.state import RelayState
from services.alert_relay.timers import run_timers
from services.alert_relay.watchdog import Watchdog, run_watchdog
from services.kit.clock import Clock, SystemClock
from services.kit.database.connect import open_database
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.service import create_service
from services.outbox import engine
from services.outbox.delivery.plan import ChatRules
from services.outbox.engine import Outbox, open_outbox
from services.outbox.messages import Settled
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit import buckets
from services.outbox.rate_limit.buckets import LocalBuckets
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from services.updates import receiver
from services.updates.metrics import UpdateMetrics

NAME = "alert-relay"
SUMMARY = "Turns Alertmanager's alerts into incidents and notifies people on Telegram."
PACKAGES = ("services.outbox", *receiver.PACKAGES, "services.alert_relay")
#: The database operations, a metric label.
OPERATIONS = (
    *engine.OPERATIONS,
    "receive",
    "truncated",
    "correct",
    "report",
    "command",
    "maintenance",
    "timers",
    "digest",
    "dead_letters",
    "update_lead",
    "updates",
    "update_act",
    "update_heard",
    "clusters",
    "recipients",
    "targets",
    "incidents",
    "incident",
    "measure",
    "retention",
)


def create_app(
    settings: AlertRelaySettings, clock: Clock | None = None, *, beside: LocalBuckets | None = None
) -> FastAPI:
    """Returns the service.

    Args:
        settings: of the service.
        clock: the time; tests pass another one.
        beside: rate limits shared with other services of the same process.
    """
    clock = clock or SystemClock()
    telemetry = Telemetry(NAME, settings)
    health = Health(clock)
    metrics = RelayMetrics(telemetry.registry, clock)
    outbox_metrics = OutboxMetrics(
        telemetry.registry, {notification_store.EVENT_TYPE: notification_store.CATEGORY}
    )
    update_metrics = UpdateMetrics(telemetry.registry, [notification_store.BOT])
    policies = read_policies(settings)
    token = settings.token
    bot = make_bot(
        token,
        settings.bot_api_url,
        settings.send_concurrency,
        telemetry.count_call,
        settings.proxy_of(settings.bot_api_url),
    )

    channel_services = channel_sender.services_of(settings.channels, telemetry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, RelayState]]:
        async with AsyncExitStack() as stack:
            url = settings.database("alert_relay")
            database = await open_database(url, telemetry, packages=PACKAGES, operations=OPERATIONS)
            stack.push_async_callback(database.close)
            rates = await stack.enter_async_context(
                buckets.open_buckets(settings.redis_url, local=beside, clock=clock, health=health)
            )
            numbers = TargetNumbers(database)
            channels = ChannelSender(settings.channels, channel_services, numbers, clock)
            channel_sender.add_probes(health, channels, channel_services)
            counter, failures = OutcomeCounter(metrics, numbers), FailureObserver(database, clock)

            async def observe(settled: Sequence[Settled]) -> None:
                await counter.observe(settled)
                await failures.observe(settled)

            outbox = await stack.enter_async_context(
                open_outbox(
                    replace(settings.engine(), bot_name=notification_store.BOT),
                    database=database,
                    telemetry=telemetry,
                    metrics=outbox_metrics,
                    clock=clock,
                    sender=Sender(bot, clock),
                    render=render.render,
                    bucket=rates.of(token, settings.telegram_bot_per_second),
                    chat_pace=rates.chats(token),
                    other_bots=channel_sender.bots_of(channels, channel_services),
                    rules=ChatRules(tries=refusing_chats.tries, answers=render.answers),
                    observer=observe,
                )
            )
            configured = settings.clusters
            await database.write(
                "clusters", partial(membership.configure, clusters=configured, now=clock.time())
            )
            further = () if policies is None else targets_of(policies)
            recipients = Recipients(settings, database, further)
            await stack.enter_async_context(recipients.learning(health))
            relay = Relay(
                settings=settings,
                recipients=recipients,
                policies=policies,
                outbox=outbox,
                telemetry=telemetry,
                metrics=metrics,
                clock=clock,
            )
            watchdog = Watchdog(
                database,
                metrics,
                relay,
                configured={each.name for each in configured},
                max_age=settings.watchdog_max_age_seconds,
                clock=clock,
            )
            await stack.enter_async_context(run_watchdog(watchdog))
            await stack.enter_async_context(run_timers(relay, clock))
            await stack.enter_async_context(
                receiving(
                    settings,
                    bot=bot,
                    relay=relay,
                    recipients=recipients,
                    outbox=outbox,
                    telemetry=telemetry,
                    metrics=update_metrics,
                    health=health,
                    clock=clock,
                )
            )
            _add_probes(health, outbox, watchdog)
            await stack.enter_async_context(run_reconcilers(settings, relay, database, telemetry, clock))
            await stack.enter_async_context(
                run_retention(database, settings.alert_retention_days, metrics, clock)
            )
            state = RelayState(
                relay=relay,
                database=database,
                clusters=configured,
                recipients=recipients,
                channels=settings.channels,
                clock=clock,
            )
            yield state.as_lifespan_state()

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary=SUMMARY,
        routers=[
            webhooks_api.router,
            incidents_api.router,
            dead_letters_api.router,
            clusters_api.router,
            targets_api.router,
            on_call_api.router,
            maintenance_api.router,
            digest_api.router,
        ],
        admission=webhooks_api.admission,
        watched=["/webhook/alert", "/webhook/alert/{cluster}"],
    )


def _add_probes(health: Health, outbox: Outbox, watchdog: Watchdog) -> None:
    database = outbox.database
    health.add("database", database.check, required=True, wake=database.failures.noticed)
    health.add("telegram_api", outbox.check_telegram, every=10.0, timeout=12.0)
    health.add("message_queue", outbox.queue.check, every=1.0)
    health.add("watchdog", watchdog.check_health)
