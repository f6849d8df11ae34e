"""Wires alert-relay: settings, telemetry, database, engine, routes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI

from services.alert_relay import api, render, store
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.relay import Endings, Relay
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.watch import Watch
from services.kit.clock import Clock, SystemClock
from services.kit.db import Database, open_database
from services.kit.health import Health
from services.kit.service import create_service
from services.kit.telemetry import Telemetry
from services.outbox import engine
from services.outbox.engine import EngineSettings, open_outbox
from services.outbox.metrics import OutboxMetrics
from services.outbox.telegram import Sender, make_bot

NAME = "alert-relay"
SUMMARY = "Alertmanager's alerts become incidents, and people are told on Telegram."
PACKAGES = ("services.outbox", "services.alert_relay")
OPERATIONS = (*engine.OPERATIONS, "receive", "incidents", "incident", "measure")


class State(TypedDict):
    """What the routes find on ``request.state``."""

    relay: Relay
    database: Database


def create_app(settings: AlertRelaySettings, clock: Clock | None = None) -> FastAPI:
    clock = clock or SystemClock()
    telemetry = Telemetry(NAME, settings)
    health = Health(clock)
    metrics = RelayMetrics(telemetry.registry, clock)
    outbox_metrics = OutboxMetrics(telemetry.registry, {store.EVENT_TYPE: store.CATEGORY})
    engine_settings = EngineSettings(bot_name=store.BOT)
    bot = make_bot(
        settings.telegram_bot_token.get_secret_value(), settings.telegram_api_url, engine_settings.concurrency
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        database = await open_database(settings.database, telemetry, packages=PACKAGES, operations=OPERATIONS)
        watch = Watch(database, metrics, settings.watchdog_max_age_seconds)
        await watch.measure()
        async with open_outbox(
            engine_settings,
            database=database,
            telemetry=telemetry,
            metrics=outbox_metrics,
            clock=clock,
            sender=Sender(bot, clock),
            render=render.render,
            observer=Endings(metrics).observe,
        ) as outbox:
            health.add("database", outbox.check_database, required=True)
            health.add("telegram_api", outbox.check_telegram, every=15, timeout=12)
            health.add("message_queue", outbox.check_queue)
            health.add("watchdog", watch.check_watchdog)
            relay = Relay(settings=settings, outbox=outbox, telemetry=telemetry, metrics=metrics, clock=clock)
            watching = asyncio.create_task(watch.run())
            try:
                yield State(relay=relay, database=database)
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
        await database.close()

    return create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary=SUMMARY,
        routers=[api.router],
    )
