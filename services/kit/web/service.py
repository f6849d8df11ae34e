"""Makes a FastAPI application a service: common routes, authentication, traces, metrics and logs."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from types import MappingProxyType
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.trace import Span
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from pydantic import BaseModel
from starlette.datastructures import URL
from starlette.types import Scope

from services.kit import errors
from services.kit.background import run_in_background
from services.kit.clock import SystemClock
from services.kit.health import Health
from services.kit.settings import ServiceSettings, StartError
from services.kit.telemetry.sdk_processor import INTERNAL
from services.kit.telemetry.telemetry import VERSION, Telemetry
from services.kit.web import common_routes, docs_pages, openapi
from services.kit.web.auth import BearerAuth, Keyring, SingleKey, bearer, read_or_create_key, require_key
from services.kit.web.bodies import JsonBodies, UnpackedBodies
from services.kit.web.client_address import ForwardedHeaders, Networks
from services.kit.web.connections import ConnectionMetrics
from services.kit.web.fast_route import FastRoute, FastRouteApp
from services.kit.web.internal import InternalRequests
from services.kit.web.login_blocker import LoginBlocker
from services.kit.web.metrics_access import MetricsAccess
from services.kit.web.middleware import BodyLimit, HeadRequests, HttpMetrics, LogContext, UnhandledErrors
from services.kit.web.rate_limit import SecurityMetrics
from services.kit.web.security_headers import NO_PAGE, SecurityHeaders
from services.kit.web.strict_request import SingleHeaders, known_query

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Mapping[str, Any]]]


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
    page_policy: str = NO_PAGE,
    last: Sequence[APIRouter] = (),
    streams: Callable[[Scope], bool] = lambda _: False,
) -> FastAPI:
    """A service with /, /health*, /metrics, /docs, problem+json errors, bearer auth, traces and logs.

    Args:
        settings: of the service, from the environment.
        telemetry: registry and tracer, named as the service.
        health: the components; they are measured while the service runs.
        lifespan: opens what the routes need and yields it; routes read it by a typed dependency.
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
        page_policy: content security policy of the service's own pages.
        last: public routes that come after all others, since their paths match those of others too.
        streams: whether a request's body may be larger than MAX_BODY_BYTES, since its route reads it piece by
            piece and limits it itself.
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
        # A redirect would go to http behind a proxy that ends TLS, and a POST would lose its body.
        redirect_slashes=False,
        responses=openapi.ANY_PROBLEM,
        docs_url=None,  # docs_pages has them
        redoc_url=None,
        # FastAPI's own telemetry would make a second span for each request.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.health = health
    app.state.connections = lambda: 0  # until a server runs the app
    internal = InternalRequests(settings)
    proxies = Networks(settings.forwarded_allow_ips)
    app.state.connection_metrics = ConnectionMetrics(telemetry.registry)
    app.state.bearer_auth = BearerAuth(
        keyring or SingleKey.of(own_key(settings)),
        login_blocker or LoginBlocker(SecurityMetrics(telemetry.registry), SystemClock()),
        proxies,
        lambda caller: internal.sender(caller.scope) is not None,
    )
    app.state.metrics_access = MetricsAccess(settings, app.state.bearer_auth, internal, proxies)
    app.include_router(common_routes.make_router(telemetry, health, summary, links))
    app.include_router(docs_pages.make_router(app.title))
    for router in public:
        # A fast route refuses dependencies; it takes POST without parameters, which may have any query.
        fast = router.route_class is FastRoute
        app.include_router(router, dependencies=[] if fast else [Depends(known_query)])
    for router in routers:
        app.include_router(router, dependencies=[Depends(bearer), Depends(admission), Depends(known_query)])
    for router in last:
        app.include_router(router, dependencies=[Depends(known_query)])
    errors.install(app)
    openapi.install(app, schemas or {})
    _instrument(app, telemetry, settings, watched, internal, streams)
    app.add_middleware(HeadRequests)
    app.add_middleware(SecurityHeaders, policy=page_policy)
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
        print(f"API key (stored in {settings.data_dir / 'api_key'}): {key}", file=sys.stderr, flush=True)  # noqa: T201 - printed once, on purpose, past the log and its redaction
    return key


def _instrument(  # noqa: PLR0917 - parts of one service
    app: FastRouteApp,
    telemetry: Telemetry,
    settings: ServiceSettings,
    watched: Collection[str],
    internal: InternalRequests,
    streams: Callable[[Scope], bool],
) -> None:
    """Adds the middleware from the inside out, then the fast routes."""
    metrics = HttpMetrics(telemetry.registry, internal)
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
            server_request_hook=partial(_describe, internal),
        )
    app.add_middleware(SingleHeaders)
    app.add_middleware(JsonBodies)
    app.add_middleware(
        PrometheusInstrumentatorMiddleware,
        instrumentations=[metrics.observe],
        registry=telemetry.registry,
        excluded_handlers=["^/metrics$"],
    )
    app.add_middleware(UnpackedBodies, max_bytes=settings.max_body_bytes)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes, streams=streams)
    app.add_middleware(LogContext, name=telemetry.name)
    if settings.forwarded_allow_ips:
        app.add_middleware(ForwardedHeaders, proxies=Networks(settings.forwarded_allow_ips))
    app.add_middleware(UnhandledErrors)
    app.install_fast_routes(metrics)


def _is_watched(route: RouteContext, watched: Collection[str]) -> bool:
    return isinstance(route.original_route, FastRoute) or route.path in watched


def _describe(internal: InternalRequests, span: Span, scope: dict[str, Any]) -> None:
    """Removes the query from the span, since it may hold a chat id; marks requests of the suite itself."""
    if internal.sender(scope) is not None:
        span.set_attribute(INTERNAL, True)
    span.set_attribute("http.url", str(URL(scope=scope).replace(query="")))
