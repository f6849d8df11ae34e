"""Routes of every service: ``/``, ``/health``, ``/health/live``, ``/health/ready`` and ``/metrics``."""

import gzip
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Response
from prometheus_client.exposition import choose_encoder, gzip_accepted
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from services.kit.clock import SystemClock, rfc3339
from services.kit.health import Health, Level
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web.metrics_access import CLOSED, require_metrics_access


class About(BaseModel):
    """Name, version and links of a service."""

    name: str = Field(description="Name of the service", examples=["bridge"])
    version: str = Field(description="Version of the suite", examples=["1.0.0"])
    summary: str = Field(description="Purpose of the service", examples=["Takes events over REST."])
    links: dict[str, str] = Field(
        description="Paths of other pages of the service, by name", examples=[{"docs": "/docs"}]
    )


class Component(BaseModel):
    """Health of one component, with the measured values."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(
        description="healthy, degraded, unhealthy or critical; unknown before the first measurement",
        examples=["healthy"],
    )
    last_check: str | None = Field(
        None, description="Time of the last measurement", examples=["2026-01-31T08:00:00.000Z"]
    )


class Report(BaseModel):
    """Health of a service: its components, and the fields of ``app.state.health_details()``, if set."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(
        description="Worst status of the components: healthy, degraded, unhealthy, critical; or unknown",
        examples=["healthy"],
    )
    timestamp: str = Field(description="Time of this response", examples=["2026-01-31T08:00:00.000Z"])
    version: str = Field(description="Version of the suite", examples=["1.0.0"])
    components: dict[str, Component] = Field(
        description="Components by name",
        examples=[{"database": {"status": "healthy", "response_time_ms": 1.0}}],
    )


class Alive(BaseModel):
    """Answer of the liveness route."""

    status: str = Field(description="Always alive", examples=["alive"])
    uptime_seconds: float = Field(description="Seconds since the service started", examples=[86_400.0])


class Ready(BaseModel):
    """Answer of the readiness route: whether all required components are usable."""

    status: str = Field(description="ready or not ready", examples=["ready"])
    not_ready: dict[str, str] = Field(
        description="Status of each required component that is not usable, by name",
        examples=[{"database": "unhealthy"}],
    )


#: The fastest level: it shrinks the page to a tenth, and higher levels save little more.
GZIP_LEVEL = 1

_METRICS: dict[str, Any] = {
    kind: {"schema": {"type": "string", "examples": ["cctelegram_queue_depth 0.0"]}}
    for kind in ("text/plain", "application/openmetrics-text")
}


def make_router(telemetry: Telemetry, health: Health, summary: str, links: Mapping[str, str]) -> APIRouter:
    """Returns the routes. None of them needs a key, unless a setting closes ``/metrics``.

    Args:
        telemetry: has the name of the service and the registry of its metrics.
        health: the monitored components.
        summary: one sentence about the service.
        links: further links of ``/``.
    """
    router = APIRouter(tags=["service"])
    started = SystemClock().time()

    @router.get("/", summary="Name, version and links of the service")
    async def about() -> About:
        """Needs no key."""
        common = {name: f"/{name}" for name in ("docs", "health", "metrics", "openapi.json")}
        return About(name=telemetry.name, version=VERSION, summary=summary, links={**links, **common})

    @router.get(
        "/health",
        summary="Health of every component; 503 only when critical",
        responses={503: {"description": "A component is critical", "model": Report}},
    )
    async def report(request: Request, response: Response) -> Report:
        """The worst component decides. A component is `unknown` before its first measurement."""
        level = health.level
        response.status_code = 503 if level is Level.CRITICAL else 200
        details: Callable[[], BaseModel] | None = getattr(request.app.state, "health_details", None)
        report = {
            "status": level.value,
            "timestamp": rfc3339(SystemClock().time()),
            "version": VERSION,
            "components": {name: component.report() for name, component in health.components.items()},
        }
        return Report.model_validate(report | (details().model_dump() if details else {}))

    @router.get("/health/live", summary="Liveness: the process runs; no dependency is checked")
    async def live() -> Alive:
        """For a supervisor that restarts a process that hangs."""
        return Alive(status="alive", uptime_seconds=round(SystemClock().time() - started, 3))

    @router.get(
        "/health/ready",
        summary="Readiness: the service can do its job; 503 when it cannot",
        responses={503: {"description": "A required component is not usable", "model": Ready}},
    )
    async def ready(response: Response) -> Ready:
        """For a load balancer that chooses where to send requests."""
        missing = health.not_ready()
        response.status_code = 503 if missing else 200
        return Ready(status="not ready" if missing else "ready", not_ready=missing)

    @router.get(
        "/metrics",
        summary="Metrics in the Prometheus text format or OpenMetrics",
        response_class=Response,
        responses={200: {"description": "The current samples", "content": _METRICS}, **CLOSED},
        dependencies=[Depends(require_metrics_access)],
    )
    async def metrics(request: Request) -> Response:
        """OpenMetrics when `Accept` names it first; compressed when `Accept-Encoding` allows gzip."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        page, headers = encode(telemetry.registry), {"Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            page, headers["Content-Encoding"] = gzip.compress(page, compresslevel=GZIP_LEVEL), "gzip"
        return Response(page, headers=headers, media_type=content_type)

    return router
