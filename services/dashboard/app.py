"""Wires the dashboard."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI

from services.dashboard import api, live, pages
from services.dashboard.history import History
from services.dashboard.login import Attempts, open_door
from services.dashboard.metrics import Metrics
from services.dashboard.pollers import Sources
from services.dashboard.settings import DashboardSettings
from services.kit.background import run_in_background
from services.kit.clock import SystemClock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.rate_limit import Guard
from services.kit.web.service import create_service, own_key


def create_app(settings: DashboardSettings) -> FastAPI:
    clock = SystemClock()
    telemetry = Telemetry("dashboard", settings)
    metrics = Metrics(telemetry.registry)
    guard = Guard(telemetry.registry, clock)
    built = pages.Pages(pages.STATIC)
    door = open_door(settings, clock)
    interval = settings.update_interval / 1000
    history = History(settings.history_minutes * 60.0, interval)
    sources = Sources(settings, telemetry, clock, history, own_key(settings))
    hub = live.Hub(sources, history, door, metrics, interval=interval, clock=clock)
    health = Health(clock)
    for name, feed in sources.feeds.items():
        health.add(name, feed.probe(), every=feed.heard.every)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with run_in_background(sources.run(), hub.run()):
            yield {
                "sources": sources,
                "history": history,
                "hub": hub,
                "door": door,
                "pages": built,
                "attempts": Attempts(door, guard),
            }

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        guard=guard,
        public=[pages.router, api.router, live.router],
        links={"dashboard": "/dashboard/"},
        summary="The live page: flow, health, queue and recent messages of the suite.",
    )
    app.mount("/dashboard/assets", pages.assets(), name="assets")
    app.add_middleware(pages.SecurityHeaders)
    return app
