"""Wires the bridge: settings → telemetry → database → engine → routes."""

import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from services.bridge import api
from services.bridge.metrics import BridgeMetrics
from services.bridge.render import render
from services.bridge.settings import BridgeSettings
from services.contracts.events import CATEGORY_OF
from services.kit.clock import SystemClock
from services.kit.db import open_database
from services.kit.guard import Guard
from services.kit.health import Health, Level, Reading
from services.kit.service import create_service
from services.kit.telemetry import Telemetry
from services.outbox.engine import OPERATIONS, Outbox, open_outbox
from services.outbox.metrics import OutboxMetrics
from services.outbox.telegram import Sender, make_bot

FULL_DISK = 0.95
FILLING_DISK = 0.85


def create_app(settings: BridgeSettings) -> FastAPI:
    clock = SystemClock()
    telemetry = Telemetry("bridge", settings)
    health = Health(clock)
    metrics = OutboxMetrics(telemetry.registry, CATEGORY_OF)
    guard = Guard(settings.rate_limit_per_second, telemetry.registry, clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            database = await open_database(
                settings.database("bridge"), telemetry, packages=["services.outbox"], operations=OPERATIONS
            )
            stack.push_async_callback(database.close)
            token = settings.telegram_bot_token.get_secret_value()
            bot = make_bot(token, settings.api_url, settings.send_concurrency, telemetry.count_call)
            outbox = await stack.enter_async_context(
                open_outbox(
                    settings.engine(),
                    database=database,
                    telemetry=telemetry,
                    metrics=metrics,
                    clock=clock,
                    sender=Sender(bot, clock),
                    render=render,
                )
            )
            _watch(health, outbox, settings)
            app.state.health_extra = lambda: {"metrics": _numbers(app, telemetry, outbox)}
            yield {
                "settings": settings,
                "clock": clock,
                "telemetry": telemetry,
                "outbox": outbox,
                "guard": guard,
            }

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary="Takes events over REST and delivers them to Telegram without losing one.",
        public=[api.public, api.intake],
        routers=[api.router],
        schemas=api.SCHEMAS,
    )
    BridgeMetrics(telemetry, lambda: int(app.state.connections()))
    return app


def _watch(health: Health, outbox: Outbox, settings: BridgeSettings) -> None:
    health.add("telegram_api", outbox.check_telegram, every=10.0, timeout=12.0)
    health.add("message_queue", outbox.check_queue, every=1.0)
    health.add("database", outbox.check_database, required=True)

    async def check_disk() -> Reading:
        usage = shutil.disk_usage(settings.data_dir)
        used = usage.used / usage.total
        level = (
            Level.UNHEALTHY if used > FULL_DISK else Level.DEGRADED if used > FILLING_DISK else Level.HEALTHY
        )
        return Reading(level, {"disk_usage": f"{used:.0%}", "data_dir": str(settings.data_dir)})

    health.add("file_system", check_disk)


def _numbers(app: FastAPI, telemetry: Telemetry, outbox: Outbox) -> dict[str, Any]:
    totals = outbox.metrics.totals()
    return {
        "uptime_seconds": round(telemetry.uptime(), 1),
        "memory_usage_mb": round(telemetry.memory_bytes() / 1_048_576, 1),
        "cpu_usage_percent": telemetry.cpu_percent(),
        "active_connections": app.state.connections(),
        "messages_processed_total": totals["delivered_total"] + totals["failed_total"],
    }
