"""The one call that makes a FastAPI app a service of this house."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Response
from fastapi.routing import APIRoute
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import Span
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import URL
from starlette.requests import Request

from services.kit import errors
from services.kit.background import beside
from services.kit.clock import SystemClock, rfc3339
from services.kit.health import Health, Level
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web import openapi
from services.kit.web.auth import Gate, Keyring, OneKey, bearer, key_from_file, require_key
from services.kit.web.fast_route import HotApp, HotRoute
from services.kit.web.middleware import Envelope, HttpMetrics, LastCatch
from services.kit.web.rate_limit import Guard

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


class About(BaseModel):
    """What a service says of itself."""

    name: str = Field(description="of the service", examples=["bridge"])
    version: str = Field(description="of the suite", examples=["1.0.0"])
    summary: str = Field(description="what it is for", examples=["Takes events over REST."])
    links: dict[str, str] = Field(description="where to go on", examples=[{"docs": "/docs"}])


class Component(BaseModel):
    """A part that is measured, and what was measured of it."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(
        description="healthy, degraded, unhealthy, critical; unknown before it was measured",
        examples=["healthy"],
    )
    last_check: str | None = Field(
        None, description="when it was measured", examples=["2026-01-31T08:00:00.000Z"]
    )


class Report(BaseModel):
    """A service's health: all that was measured, nothing assumed."""

    model_config = ConfigDict(extra="allow")

    status: str = Field(description="the worst of the components", examples=["healthy"])
    timestamp: str = Field(description="of this answer", examples=["2026-01-31T08:00:00.000Z"])
    version: str = Field(description="of the suite", examples=["1.0.0"])
    components: dict[str, Component] = Field(
        description="by name", examples=[{"database": {"status": "healthy", "response_time_ms": 1.0}}]
    )


class Alive(BaseModel):
    """The process runs."""

    status: str = Field(description="always alive", examples=["alive"])
    uptime_seconds: float = Field(description="since it started", examples=[86_400.0])


class Ready(BaseModel):
    """Whether the service can do its job."""

    status: str = Field(description="ready, or not ready", examples=["ready"])
    not_ready: dict[str, str] = Field(
        description="what it cannot do without and has not, with its status",
        examples=[{"database": "unhealthy"}],
    )


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
    guard: Guard | None = None,
    admission: Callable[..., Awaitable[object]] = require_key,
    links: Mapping[str, str] = MappingProxyType({}),
    schemas: Mapping[str, type[BaseModel]] | None = None,
) -> FastAPI:
    """A service with /, /health*, /metrics, /docs, problem+json, bearer auth, traces and logs.

    Args:
        settings: the service's own, built from the environment.
        telemetry: its registry and tracer, named as the service.
        health: its components, measured while it runs.
        lifespan: opens what the routes need and yields it; routes find it on ``request.state``.
        summary: one sentence for ``/`` and the OpenAPI document.
        routers: routes that want a bearer key.
        public: routes that do not.
        keyring: which keys open it; unset: the one key of the settings.
        guard: what those meet who come too often or with a wrong key; unset: one without a rate.
        admission: dependency of the routers; unset: any key of the keyring will do.
        links: further links of ``/``, such as a page for people.
        schemas: models that only hot routes refer to, for the OpenAPI document.
    """

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with lifespan(app) as state, beside(telemetry.watch_process(), health.watch()):
            yield state
        await asyncio.to_thread(telemetry.close)

    app = HotApp(
        title=f"CCTelegram {telemetry.name}",
        summary=summary,
        version=VERSION,
        lifespan=whole_life,
        responses=openapi.ANY_PROBLEM,
        # Ours is on; FastAPI's own would make every span twice.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.connections = lambda: 0  # until a server runs it
    app.state.gate = Gate(
        keyring or OneKey.of(own_key(settings)),
        guard or Guard(telemetry.registry, SystemClock()),
        settings.forwarded_allow_ips,
    )
    app.include_router(_common(telemetry, health, summary, links))
    for router in public:
        app.include_router(router)
    for router in routers:
        app.include_router(router, dependencies=[Depends(bearer), Depends(admission)])
    errors.install(app)
    openapi.install(app, schemas or {})
    _instrument(app, telemetry, settings)
    return app


def own_key(settings: ServiceSettings) -> str:
    """The bearer key of the suite: from the settings, or made once in the data folder."""
    if settings.api_key is not None:
        return settings.api_key.get_secret_value()
    try:
        key, made = key_from_file(settings.data_dir / "api_key")
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

    @router.get("/", summary="What this is", response_model=About)
    async def about() -> dict[str, Any]:
        """Needs no key, as all of these."""
        common = {name: f"/{name}" for name in ("docs", "health", "metrics", "openapi.json")}
        return {"name": telemetry.name, "version": VERSION, "summary": summary, "links": {**links, **common}}

    @router.get(
        "/health",
        summary="Every component as last measured; 503 only when critical",
        response_model=Report,
        responses={503: {"description": "a component is critical", "model": Report}},
    )
    async def whole(request: Request, response: Response) -> dict[str, Any]:
        """The worst component decides. What was never measured is `unknown`."""
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

    @router.get("/health/live", summary="Whether the process runs; asks no dependency", response_model=Alive)
    async def live() -> dict[str, Any]:
        """For whoever restarts what hangs."""
        return {"status": "alive", "uptime_seconds": round(SystemClock().time() - started, 3)}

    @router.get(
        "/health/ready",
        summary="Whether the service can do its job; 503 when not",
        response_model=Ready,
        responses={503: {"description": "it cannot do its job now", "model": Ready}},
    )
    async def ready(response: Response) -> dict[str, Any]:
        """For whoever hands requests out."""
        missing = health.not_ready()
        response.status_code = 503 if missing else 200
        return {"status": "not ready" if missing else "ready", "not_ready": missing}

    @router.get(
        "/metrics",
        summary="Prometheus text format, or OpenMetrics",
        response_class=Response,
        responses={200: {"description": "the samples of now", "content": _METRICS}},
    )
    async def metrics(request: Request) -> Response:
        """OpenMetrics where `Accept` asks for it."""
        shown, content_type = telemetry.registry.exposed(request.headers.get("accept", ""))
        return Response(shown, media_type=content_type)

    return router


def _instrument(app: HotApp, telemetry: Telemetry, settings: ServiceSettings) -> None:
    """From the inside out: traces, request metrics, the envelope; and the hot path past them."""
    metrics = HttpMetrics(telemetry.registry)
    hot: dict[str, Any] = {}
    for route in _api_routes(app):
        if isinstance(route, HotRoute):
            hot[route.path] = route.endpoint
        for method in route.methods or ():
            metrics.initialise(method, route.path)
    metrics.initialise("none", "none")  # what is no route of ours
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
    app.add_middleware(Envelope, name=telemetry.name, max_body_bytes=settings.max_body_bytes)
    app.add_middleware(LastCatch)
    app.take_short_way(hot, metrics, settings.max_body_bytes)


def _without_query(span: Span, scope: dict[str, Any]) -> None:
    """A query may hold a chat's id or what somebody searches; more people read traces than messages."""
    span.set_attribute("http.url", str(URL(scope=scope).replace(query="")))


def _api_routes(app: FastAPI) -> list[APIRoute]:
    """The routes declared on the app and on the routers that it includes."""
    found: list[APIRoute] = []
    for route in app.routes:
        if isinstance(route, APIRoute):
            found.append(route)
        original = getattr(route, "original_router", None)
        if isinstance(original, APIRouter):
            found.extend(inner for inner in original.routes if isinstance(inner, APIRoute))
    return found
