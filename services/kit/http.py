"""What every request passes, as plain ASGI; and clients whose calls are counted and traced."""

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
from fastapi.routing import APIRoute
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.metrics import NoOpMeterProvider
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_fastapi_instrumentator.metrics import Info
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit import errors, logs
from services.kit.errors import Problem
from services.kit.telemetry import Telemetry

DURATION_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
# How much of a body that is refused is read and thrown away, in sizes of the limit.
DRAIN_FACTOR = 8
_CORRELATION = re.compile(rb"[A-Za-z0-9._:/-]{1,128}")


class HttpMetrics:
    """The request metrics, under the instrumentator's names and with its handler labels."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ["method", "handler"]
        self._known: set[tuple[str, str]] = set()
        self.requests = Counter("http_requests", "Requests", [*labels, "status"], registry=registry)
        self.errors = Counter("http_requests_errors", "Requests answered 5xx", labels, registry=registry)
        self.duration = Histogram(
            "http_request_duration_seconds",
            "From the first byte in to the last byte out",
            labels,
            buckets=DURATION_BUCKETS,
            registry=registry,
        )

    def initialise(self, method: str, handler: str) -> None:
        """Makes the series of a route, so that ``rate()`` sees the first request too."""
        self._known.add((method, handler))
        for status in ("2xx", "4xx", "5xx"):
            self.requests.labels(method, handler, status)
        self.errors.labels(method, handler)
        self.duration.labels(method, handler)

    def observe(self, info: Info) -> None:
        """The instrumentator's hook."""
        method = info.method if (info.method, info.modified_handler) in self._known else "none"
        self.requests.labels(method, info.modified_handler, info.modified_status).inc()
        self.duration.labels(method, info.modified_handler).observe(info.modified_duration)
        if info.modified_status == "5xx":
            self.errors.labels(method, info.modified_handler).inc()


class Envelope:
    """Outermost: the service's name and the correlation id for the logs, the size limit, the last catch.

    A body over the limit is refused where somebody reads it: by its ``Content-Length``, or as soon
    as it has grown too long. What is left of it is read and thrown away before the answer, since a
    client that is still sending hears none.
    """

    def __init__(self, app: ASGIApp, name: str, max_body_bytes: int) -> None:
        self.app = app
        self._name = name
        self._limit = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        logs.service_name.set(self._name)
        headers = dict(scope["headers"])
        correlation = headers.get(b"x-correlation-id", b"")
        logs.correlation_id.set(correlation.decode() if _CORRELATION.fullmatch(correlation) else "")
        if scope["type"] == "http":
            length = headers.get(b"content-length", b"0")
            receive = self._counted(receive, int(length) if length.isdigit() else 0)
        await self._caught(scope, receive, send)

    async def _caught(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Logs an error once; handed on to the server it would be logged again there."""
        started = scope["type"] != "http"

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noting)
        except Exception as error:
            if started:
                raise
            await errors.unforeseen(scope["path"], error)(scope, receive, send)

    def _counted(self, receive: Receive, declared: int) -> Receive:
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if max(seen, declared) > self._limit and message["type"] == "http.request":
                await self._drain(message, receive)
                raise BodyTooLargeError(self._limit)
            return message

        return counted

    async def _drain(self, message: Message, receive: Receive) -> None:
        spare = DRAIN_FACTOR * self._limit
        while spare > 0 and message.get("more_body", False):
            message = await receive()
            spare -= len(message.get("body", b""))


class BodyTooLargeError(Problem, HTTPException):
    """The body is over the limit. Also an HTTPException: FastAPI makes a 400 of anything else."""

    def __init__(self, limit: int) -> None:
        super().__init__(413, "Content Too Large", f"The body may have {limit} bytes (MAX_BODY_BYTES).")


Handler = Callable[[Request], Awaitable[Response]]


class HotRoute(APIRoute):
    """A route in the OpenAPI document like any other, whose function gets the bare request.

    FastAPI's own reading of a body costs as much as everything else that the intake does
    (docs/performance.md), so a hot route parses by itself.
    """

    def get_route_handler(self) -> Callable[[Request], Any]:
        return self.endpoint


class HotPath:
    """Takes the requests of hot routes past the middleware and the router, counting them alike."""

    def __init__(self, app: ASGIApp, routes: Mapping[str, Handler], metrics: HttpMetrics) -> None:
        self.app = app
        self._routes = {path: _Counted(handler, path, metrics) for path, handler in routes.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hot = self._routes.get(scope["path"]) if scope["type"] == "http" else None
        if hot is None or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        await hot(scope, receive, send)


class _Counted:
    """One hot handler with its series bound once."""

    def __init__(self, handler: Handler, path: str, metrics: HttpMetrics) -> None:
        self._handler = handler
        self._duration = metrics.duration.labels("POST", path)
        self._errors = metrics.errors.labels("POST", path)
        self._requests = {
            family: metrics.requests.labels("POST", path, f"{family}xx") for family in (2, 3, 4, 5)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = 500
        try:
            response = await self._handle(Request(scope, receive))
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self._requests[status // 100].inc()
            if status >= 500:  # noqa: PLR2004 - the server's own failures
                self._errors.inc()
            self._duration.observe(time.perf_counter() - start)

    async def _handle(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Problem as problem:
            return problem.response()
        except ClientDisconnect:  # nobody hears it; the client's doing, so no 5xx
            return Problem(400, "Bad Request", "The connection ended within the body.").response()


def client(
    telemetry: Telemetry, provider: str, base_url: str, *, timeout: float = 5.0, key: str | None = None
) -> httpx.AsyncClient:
    """A client of another program: counted by provider, traced, with the trace handed on.

    Args:
        telemetry: of the calling service.
        provider: bounded name of the other side, e.g. ``alertmanager``.
        base_url: where it is.
        timeout: seconds for each phase of a call.
        key: bearer key, if it wants one.
    """
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    made = httpx.AsyncClient(
        base_url=base_url, timeout=timeout, headers=headers, transport=_CountedTransport(telemetry, provider)
    )
    HTTPXClientInstrumentor.instrument_client(
        made, tracer_provider=telemetry.tracer_provider, meter_provider=NoOpMeterProvider()
    )
    return made


class _CountedTransport(httpx.AsyncHTTPTransport):
    def __init__(self, telemetry: Telemetry, provider: str) -> None:
        super().__init__(limits=httpx.Limits(max_connections=8, max_keepalive_connections=8))
        self._telemetry = telemetry
        self._provider = provider

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # Whoever calls a path with an id in it names the endpoint, so that labels stay few.
        endpoint = str(request.extensions.get("endpoint", request.url.path))
        start = time.perf_counter()
        status = "none"
        try:
            response = await super().handle_async_request(request)
            status = str(response.status_code)
        finally:
            self._telemetry.count_call(self._provider, endpoint, status, time.perf_counter() - start)
        return response
