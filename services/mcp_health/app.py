"""Wires mcp-health: settings → telemetry → checks → authority and auditor → app."""

import platform
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypedDict

from fastapi import FastAPI

from services.kit.background import run_in_background
from services.kit.clock import Clock, SystemClock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.service import create_service
from services.mcp_health import api, host_metrics
from services.mcp_health.audit import Auditor
from services.mcp_health.authority import Authority
from services.mcp_health.check_registry import Catalogue
from services.mcp_health.metrics import Metrics
from services.mcp_health.settings import McpHealthSettings


class State(TypedDict):
    authority: Authority
    auditor: Auditor


def create_app(settings: McpHealthSettings) -> FastAPI:
    telemetry = Telemetry("mcp-health", settings)
    clock = SystemClock()
    health = Health(clock)
    catalogue = Catalogue(settings, telemetry, clock)
    checks = catalogue.checks()
    metrics = Metrics(telemetry.registry, [check.id for check in checks], catalogue.clients)
    authority = Authority(
        checks,
        health=health,
        clock=clock,
        metrics=metrics,
        every=settings.check_interval_seconds,
        timeout=settings.check_timeout_seconds,
    )
    auditor = Auditor(
        settings=settings,
        telemetry=telemetry,
        clock=clock,
        catalogue=catalogue,
        authority=authority,
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        try:
            async with run_in_background(auditor.watch()):
                yield State(authority=authority, auditor=auditor)
        finally:
            await catalogue.close()

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary="How every part of the suite is, by measurement.",
        public=[api.router],
    )
    app.state.health_extra = Extra(settings, authority, clock)
    return app


class Extra:
    """What ``/health`` says here beyond the report of every service."""

    def __init__(self, settings: McpHealthSettings, authority: Authority, clock: Clock) -> None:
        self._environment = settings.environment
        self._authority = authority
        self._clock = clock
        self._started = clock.monotonic()

    def __call__(self) -> dict[str, Any]:
        used, total = host_metrics.memory()
        return {
            "python_version": platform.python_version(),
            "memory": {
                "used_mb": round(used / 2**20, 1),
                "total_mb": round(total / 2**20, 1),
                "usage_percent": round(100 * used / total, 1),
            },
            "uptime_seconds": round(self._clock.monotonic() - self._started, 3),
            "environment": self._environment,
            **self._authority.report(),
        }
