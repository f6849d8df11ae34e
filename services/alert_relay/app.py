"""Wires alert-relay: settings, telemetry, database, engine, routes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TypedDict

from fastapi import FastAPI

from services.alert_relay import api, render, store
from services.alert_relay.deadman import DeadMan
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.relay import Endings, Relay
from services.alert_relay.retention import retaining
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.truncated_worker import completing
from services.alert_relay.watch import Watch, watching
from services.kit.clock import Clock, SystemClock
from services.kit.database.connect import Database, open_database
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.service import create_service
from services.outbox import engine
from services.outbox.engine import Outbox, open_outbox
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit import buckets
from services.outbox.rate_limit.buckets import InProcess
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender

NAME = "alert-relay"
SUMMARY = "Alertmanager's alerts become incidents, and people are told on Telegram."
PACKAGES = ("services.outbox", "services.alert_relay")
OPERATIONS = (
    *engine.OPERATIONS,
    "receive",
    "completing",
    "complete",
    "tell_of",
    "incidents",
    "incident",
    "measure",
    "retention",
)


class State(TypedDict):
    """What the routes find on ``request.state``."""

    relay: Relay
    database: Database


def create_app(
    settings: AlertRelaySettings, clock: Clock | None = None, *, beside: InProcess | None = None
) -> FastAPI:
    """The relay as a service.

    Args:
        settings: its own.
        clock: another source of time, for tests.
        beside: the rates of services in the same process that send as well.
    """
    clock = clock or SystemClock()
    telemetry = Telemetry(NAME, settings)
    health = Health(clock)
    metrics = RelayMetrics(telemetry.registry, clock)
    outbox_metrics = OutboxMetrics(telemetry.registry, {store.EVENT_TYPE: store.CATEGORY})
    token = settings.telegram_bot_token.get_secret_value()
    bot = make_bot(
        token,
        settings.api_url,
        settings.send_concurrency,
        telemetry.count_call,
        settings.proxy_of(settings.api_url),
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        async with AsyncExitStack() as stack:
            url = settings.database("alert_relay")
            database = await open_database(url, telemetry, packages=PACKAGES, operations=OPERATIONS)
            stack.push_async_callback(database.close)
            rates = await stack.enter_async_context(
                buckets.open_paces(settings.redis_url, beside=beside, clock=clock, health=health)
            )
            outbox = await stack.enter_async_context(
                open_outbox(
                    replace(settings.engine(), bot_name=store.BOT),
                    database=database,
                    telemetry=telemetry,
                    metrics=outbox_metrics,
                    clock=clock,
                    sender=Sender(bot, clock),
                    render=render.render,
                    pace=rates.of(token, settings.telegram_bot_per_second),
                    observer=Endings(metrics).observe,
                )
            )
            relay = Relay(settings=settings, outbox=outbox, telemetry=telemetry, metrics=metrics, clock=clock)
            max_age = settings.watchdog_max_age_seconds
            watch = await stack.enter_async_context(
                watching(database, metrics, DeadMan(relay, max_age, clock), max_age)
            )
            _observe(health, outbox, watch)
            await stack.enter_async_context(completing(settings, relay, database, telemetry, clock))
            await stack.enter_async_context(
                retaining(database, settings.alert_retention_days, metrics, clock)
            )
            yield State(relay=relay, database=database)

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary=SUMMARY,
        routers=[api.router],
    )


def _observe(health: Health, outbox: Outbox, watch: Watch) -> None:
    health.add("database", outbox.check_database, required=True)
    health.add("telegram_api", outbox.check_telegram, every=10.0, timeout=12.0)
    health.add("message_queue", outbox.check_queue, every=1.0)
    health.add("watchdog", watch.check_watchdog)
