"""Builds mcp-health: settings, telemetry, checks, audit and routes."""

import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from fastapi import FastAPI

from services.contracts.health import Memory, SuiteDetails
from services.kit.background import run_in_background
from services.kit.clock import Clock, SystemClock
from services.kit.health import Health
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.service import create_service
from services.mcp_health import api, host_metrics
from services.mcp_health.audit import Auditor
from services.mcp_health.authority import Authority
from services.mcp_health.check_registry import CheckRegistry
from services.mcp_health.metrics import Metrics
from services.mcp_health.settings import McpHealthSettings
from services.mcp_health.state import HealthState


def create_app(settings: McpHealthSettings) -> FastAPI:
    telemetry = Telemetry("mcp-health", settings)
    clock = SystemClock()
    health = Health(clock)
    registry = CheckRegistry(settings, telemetry, clock)
    checks = registry.checks()
    metrics = Metrics(telemetry.registry, [check.id for check in checks], registry.clients)
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
        registry=registry,
        authority=authority,
        metrics=metrics,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, HealthState]]:
        try:
            async with run_in_background(auditor.run()):
                yield HealthState(authority=authority, auditor=auditor).as_lifespan_state()
        finally:
            await registry.close()

    app = create_service(
        settings=settings,
        telemetry=telemetry,
        health=health,
        lifespan=lifespan,
        summary="Measures the health of every part of the suite.",
        public=[api.router],
    )
    app.state.health_details = HealthDetails(settings, authority, clock)
    return app


class HealthDetails:
    """Adds mcp-health's own fields to the report of ``/health``."""

    def __init__(self, settings: McpHealthSettings, authority: Authority, clock: Clock) -> None:
        self._environment = settings.environment
        self._authority = authority
        self._clock = clock
        self._started = clock.monotonic()

    def __call__(self) -> SuiteDetails:
        """The fields that the kit adds to its report."""
        used, total = host_metrics.memory()
        dependencies, others = self._authority.components()
        return SuiteDetails(
            python_version=platform.python_version(),
            memory=Memory(
                used_mb=round(used / 2**20, 1),
                total_mb=round(total / 2**20, 1),
                usage_percent=round(100 * used / total, 1),
            ),
            uptime_seconds=round(self._clock.monotonic() - self._started, 3),
            environment=self._environment,
            components=others,
            services=dependencies,
        )
