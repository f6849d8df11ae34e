"""Builds the dashboard: settings, telemetry, pollers, login and routes."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.dashboard import api, page_files, pages
from services.dashboard.history import History
from services.dashboard.hub import Hub
from services.dashboard.login import Logins, open_authenticator
from services.dashboard.metrics import Metrics
from services.dashboard.page_files import PageFiles
from services.dashboard.pollers import Pollers
from services.dashboard.settings import DashboardSettings
from services.dashboard.state import DashboardState
from services.kit.background import run_in_background
from services.kit.clock import SystemClock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.internal import own_mark
from services.kit.web.login_blocker import LoginBlocker
from services.kit.web.origin import OwnPagesOnly
from services.kit.web.rate_limit import SecurityMetrics
from services.kit.web.security_headers import OWN_PAGE
from services.kit.web.service import create_service, own_key


def create_app(settings: DashboardSettings) -> FastAPI:
    clock = SystemClock()
    telemetry = Telemetry("dashboard", settings)
    metrics = Metrics(telemetry.registry)
    security = SecurityMetrics(telemetry.registry)
    login_blocker = LoginBlocker(security, clock)
    files = PageFiles(page_files.STATIC)
    authenticator = open_authenticator(settings, clock)
    interval = settings.update_interval / 1000
    history = History(settings.history_minutes * 60.0, interval)
    pollers = Pollers(
        settings,
        telemetry,
        clock,
        history,
        key=own_key(settings),
        mark=own_mark(settings, telemetry.name),
    )
    hub = Hub(pollers, history, authenticator, metrics, interval=interval, clock=clock)
    health = Health(clock)
    for name, poller in pollers.by_name.items():
        health.add(name, poller.check_health, every=poller.polled.every)
    state = DashboardState(
        pollers=pollers,
        history=history,
        hub=hub,
        authenticator=authenticator,
        logins=Logins(authenticator, login_blocker, security),
        page_files=files,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, DashboardState]]:
        async with run_in_background(pollers.run(), hub.run(), hub.watch_sessions()):
            yield state.as_lifespan_state()

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        login_blocker=login_blocker,
        public=[pages.router, api.router, api.websocket_router],
        links={"dashboard": "/dashboard/"},
        page_policy=OWN_PAGE,
        summary="Shows the flow, health, queue and recent messages of the suite, live.",
    )
    app.mount("/dashboard/assets", page_files.assets(), name="assets")
    app.add_middleware(page_files.CacheControl)
    if not settings.auth_enabled:
        app.add_middleware(OwnPagesOnly, hosts=settings.allowed_hosts)
    return app
