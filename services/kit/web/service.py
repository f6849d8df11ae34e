"""Makes a FastAPI application a service: health, metrics, documentation, authentication, traces and logs."""

import asyncio
import gzip
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import Span
from prometheus_client.exposition import choose_encoder, gzip_accepted
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import URL
from starlette.requests import Request

from services.kit import errors
from services.kit.background import run_in_background
from services.kit.clock import SystemClock, rfc3339
from services.kit.health import Health, Level
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web import openapi
from services.kit.web.auth import BearerAuth, Keyring, SingleKey, bearer, read_or_create_key, require_key
from services.kit.web.fast_route import FastRoute, FastRouteApp
from services.kit.web.login_blocker import LoginBlocker
from services.kit.web.middleware import BodyLimit, HttpMetrics, LogContext, UnhandledErrors
from services.kit.web.rate_limit import SecurityMetrics

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class About(BaseModel):
    """Name, version and links of a service."""

    name: str = Field(description="Name of the service", examples=["bridge"])
    version: str = Field(description="Version of the suite", examples=["1.0.0"])
    summary: str = Field(description="Purpose of the service", examples=["Takes events over REST."])
    links: dict[str, str] = Field(description="Paths of further pages", examples=[{"docs": "/docs"}])


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
    """Health of a service, from measurements only."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(description="Worst status of the components", examples=["healthy"])
    timestamp: str = Field(description="Time of this response", examples=["2026-01-31T08:00:00.000Z"])
    version: str = Field(description="Version of the suite", examples=["1.0.0"])
    components: dict[str, Component] = Field(
        description="Components by name",
        examples=[{"database": {"status": "healthy", "response_time_ms": 1.0}}],
    )


class Alive(BaseModel):
    """The process runs."""

    status: str = Field(description="Always alive", examples=["alive"])
    uptime_seconds: float = Field(description="Seconds since the service started", examples=[86_400.0])


class Ready(BaseModel):
    """Whether the service can do its job."""

    status: str = Field(description="ready or not ready", examples=["ready"])
    not_ready: dict[str, str] = Field(
        description="Required components that are not usable, with their status",
        examples=[{"database": "unhealthy"}],
    )


#: The fastest level: it shrinks the page to a tenth, and higher levels save little more.
GZIP_LEVEL = 1

_METRICS: dict[str, Any] = {
    kind: {"schema": {"type": "string", "examples": ["cctelegram_queue_depth 0.0"]}}
    for kind in ("text/plain", "application/openmetrics-text")
}


def create_service(
    *,
    settings: ServiceSettings,
    telemetry: Telemetry,
    health: Health,
    lifespan: Lifespan,
    summary: str,
    routers: Sequence[APIRouter] = (),
    public: Sequence[APIRouter] = (),
    keyring: Keyring | None = None,
    login_blocker: LoginBlocker | None = None,
    admission: Callable[..., Awaitable[object]] = require_key,
    links: Mapping[str, str] = MappingProxyType({}),
    schemas: Mapping[str, type[BaseModel]] | None = None,
    watched: Collection[str] = (),
) -> FastAPI:
    """A service with /, /health*, /metrics, /docs, problem+json errors, bearer auth, traces and logs.

    Args:
        settings: of the service, from the environment.
        telemetry: registry and tracer, named as the service.
        health: the components; they are measured while the service runs.
        lifespan: opens what the routes need and yields it; routes read it from ``request.state``.
        summary: one sentence for ``/`` and the OpenAPI document.
        routers: routes that require a bearer key.
        public: routes that do not.
        keyring: the accepted keys; None: the one key of the settings.
        login_blocker: blocks addresses that send wrong keys; None: a new one.
        admission: FastAPI dependency that authenticates requests of the routers; default: any key of the
            keyring.
        links: further links of ``/``, such as a page for people.
        schemas: models that only fast routes refer to, for the OpenAPI document.
        watched: paths whose request metrics an alert or SLO rule reads; fast routes are always watched.
    """

    @asynccontextmanager
    async def service_lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with lifespan(app) as state, run_in_background(telemetry.watch_process(), health.watch()):
            yield state
        await asyncio.to_thread(telemetry.close)

    app = FastRouteApp(
        title=f"CCTelegram {telemetry.name}",
        summary=summary,
        version=VERSION,
        lifespan=service_lifespan,
        responses=openapi.ANY_PROBLEM,
        # FastAPI's own telemetry would make a second span for each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.connections = lambda: 0  # until a server runs the app
    app.state.bearer_auth = BearerAuth(
        keyring or SingleKey.of(own_key(settings)),
        login_blocker or LoginBlocker(SecurityMetrics(telemetry.registry), SystemClock()),
        settings.forwarded_allow_ips,
    )
    app.include_router(_common(telemetry, health, summary, links))
    for router in public:
        app.include_router(router)
    for router in routers:
        app.include_router(router, dependencies=[Depends(bearer), Depends(admission)])
    errors.install(app)
    openapi.install(app, schemas or {})
    _instrument(app, telemetry, settings, watched)
    return app


def own_key(settings: ServiceSettings) -> str:
    """The suite's bearer key: from the settings, or from the data folder, where it is made once.

    Raises:
        StartError: the data folder cannot hold it.
    """
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        key, made = read_or_create_key(settings.data_dir / "api_key")
    except OSError as error:
        raise StartError(
            f"DATA_DIR: cannot keep the API key in {settings.data_dir}: {error.strerror}"
        ) from error
    if made:
        print(f"API key (kept in {settings.data_dir / 'api_key'}): {key}", file=sys.stderr, flush=True)  # noqa: T201 - printed once, on purpose, past the log and its redaction
    return key


def _common(telemetry: Telemetry, health: Health, summary: str, links: Mapping[str, str]) -> APIRouter:
    router = APIRouter(tags=["service"])
    started = SystemClock().time()

    @router.get("/", summary="Name, version and links of the service", response_model=About)
    async def about() -> dict[str, Any]:
        """Needs no key."""
        common = {name: f"/{name}" for name in ("docs", "health", "metrics", "openapi.json")}
        return {"name": telemetry.name, "version": VERSION, "summary": summary, "links": {**links, **common}}

    @router.get(
        "/health",
        summary="Health of every component; 503 only when critical",
        response_model=Report,
        responses={503: {"description": "A component is critical", "model": Report}},
    )
    async def whole(request: Request, response: Response) -> dict[str, Any]:
        """The worst component decides. A component is `unknown` before its first measurement."""
        level = health.level
        response.status_code = 503 if level is Level.CRITICAL else 200
        report = {
            "status": level.value,
            "timestamp": rfc3339(SystemClock().time()),
            "version": VERSION,
            "components": {name: part.report() for name, part in health.components.items()},
        }
        extra: Callable[[], dict[str, Any]] | None = getattr(request.app.state, "health_extra", None)
        return report | (extra() if extra else {})

    @router.get(
        "/health/live", summary="Liveness: the process runs; no dependency is checked", response_model=Alive
    )
    async def live() -> dict[str, Any]:
        """For a supervisor that restarts a process that hangs."""
        return {"status": "alive", "uptime_seconds": round(SystemClock().time() - started, 3)}

    @router.get(
        "/health/ready",
        summary="Readiness: the service can do its job; 503 when it cannot",
        response_model=Ready,
        responses={503: {"description": "A required component is not usable", "model": Ready}},
    )
    async def ready(response: Response) -> dict[str, Any]:
        """For a load balancer that chooses where to send requests."""
        missing = health.not_ready()
        response.status_code = 503 if missing else 200
        return {"status": "not ready" if missing else "ready", "not_ready": missing}

    @router.get(
        "/metrics",
        summary="Metrics in the Prometheus text format or OpenMetrics",
        response_class=Response,
        responses={200: {"description": "The current samples", "content": _METRICS}},
    )
    async def metrics(request: Request) -> Response:
        """OpenMetrics when `Accept` names it first; compressed when `Accept-Encoding` allows gzip."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        page, headers = encode(telemetry.registry), {"Vary": "Accept, Accept-Encoding"}
        if gzip_accepted(request.headers.get("accept-encoding", "")):
            page, headers["Content-Encoding"] = gzip.compress(page, compresslevel=GZIP_LEVEL), "gzip"
        return Response(page, headers=headers, media_type=content_type)

    return router


def _instrument(
    app: FastRouteApp, telemetry: Telemetry, settings: ServiceSettings, watched: Collection[str]
) -> None:
    """Adds the middleware from the inside out, then the fast routes."""
    metrics = HttpMetrics(telemetry.registry)
    for route in iter_route_contexts(app.routes):
        if isinstance(route.original_route, APIRoute):
            add = metrics.watch if _is_watched(route, watched) else metrics.add
            for method in route.methods or ():
                add(method, str(route.path))
    if telemetry.exports_spans:
        FastAPIInstrumentor.instrument_app(
            app,
            tracer_provider=telemetry.tracer_provider,
            meter_provider=NoOpMeterProvider(),
            excluded_urls="/health,/metrics",
            exclude_spans=["receive", "send"],
            server_request_hook=_without_query,
        )
    app.add_middleware(
        PrometheusInstrumentatorMiddleware,
        instrumentations=[metrics.observe],
        registry=telemetry.registry,
        excluded_handlers=["^/metrics$"],
    )
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(LogContext, name=telemetry.name)
    app.add_middleware(UnhandledErrors)
    app.install_fast_routes(metrics)


def _is_watched(route: RouteContext, watched: Collection[str]) -> bool:
    return isinstance(route.original_route, FastRoute) or route.path in watched


def _without_query(span: Span, scope: dict[str, Any]) -> None:
    """Removes the query from the span: it may hold a chat id or a search text."""
    span.set_attribute("http.url", str(URL(scope=scope).replace(query="")))
