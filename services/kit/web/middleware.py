"""Middleware of every service, as plain ASGI: metrics, log context, body limit, HEAD, unhandled errors."""

import re
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_fastapi_instrumentator.metrics import Info
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit import errors, logs
from services.kit.errors import Problem
from services.kit.web.internal import InternalRequests

#: Seconds. The alert HighLatency needs the bound 1 and one above it.
DURATION_BUCKETS = (0.01, 0.1, 0.5, 1, 5)
#: The handler label of the latency of all routes that are not watched.
OTHER = "other"
#: The handler label of requests that the suite makes of itself.
INTERNAL = "internal"
#: The handler label of requests that wait on purpose: long polls (``?wait=``) and event streams.
WAITING = "waiting"
_WAIT = re.compile(rb"(?:^|&)wait=")
#: How much of a body over the limit is read and thrown away, in multiples of the limit.
DRAIN_FACTOR = 8
_CORRELATION = re.compile(rb"[A-Za-z0-9._:/-]{1,128}")


class HttpMetrics:
    """Request metrics, under the names and handler labels of prometheus-fastapi-instrumentator.

    A watched route has all its series from the start, so that ``rate()`` counts its first request, and its
    latency is measured by itself. Any other route gets its counters at the first request, and shares one
    latency series a method under the handler ``other``: a histogram a route would fill half of the page.

    Some requests say nothing about how callers are served: those of the suite itself, and those that wait on
    purpose. They are counted under handlers of their own. Neither they nor health checks have a latency.

    Args:
        registry: of the service.
        internal: knows the requests of the suite itself.
    """

    def __init__(self, registry: CollectorRegistry, internal: InternalRequests) -> None:
        labels = ["method", "handler"]
        self._internal = internal
        self._routes: set[tuple[str, str]] = set()
        self._watched: set[tuple[str, str]] = set()
        self.requests = Counter(
            "http_requests", "HTTP requests answered", [*labels, "status"], registry=registry
        )
        self.errors = Counter(
            "http_requests_errors", "HTTP requests answered with a 5xx status", labels, registry=registry
        )
        self.duration = Histogram(
            "http_request_duration_seconds",
            "Time from receiving an HTTP request to sending the last byte of its response; "
            "without health checks, requests of the suite itself, long polls and event streams",
            labels,
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self.watch("none", "none")
        for apart in (INTERNAL, WAITING):
            self._count_from_start("GET", apart)

    def add(self, method: str, handler: str) -> None:
        """Makes a route known; requests that match no known route are counted under the method ``none``."""
        self._routes.add((method, handler))

    def watch(self, method: str, handler: str) -> None:
        """Makes all series of a route."""
        self._routes.add((method, handler))
        self._watched.add((method, handler))
        self._count_from_start(method, handler)
        self.duration.labels(method, handler)

    def _count_from_start(self, method: str, handler: str) -> None:
        for status in ("2xx", "4xx", "5xx"):
            self.requests.labels(method, handler, status)
        self.errors.labels(method, handler)

    def observe(self, info: Info) -> None:
        """The instrumentator's hook, called after each response."""
        route = info.modified_handler
        method = info.method if (info.method, route) in self._routes else "none"
        apart = self._apart(info)
        self.count(method, apart or route, info.modified_status)
        if apart is None and not route.startswith(_HEALTH):
            timed_as = route if (method, route) in self._watched else OTHER
            self.duration.labels(method, timed_as).observe(info.modified_duration)

    def count(self, method: str, handler: str, status: str) -> None:
        """Counts a request; ``status`` is a class such as ``2xx``."""
        self.requests.labels(method, handler, status).inc()
        if status == "5xx":
            self.errors.labels(method, handler).inc()

    def is_internal(self, scope: Scope) -> bool:
        """Whether the suite itself made the request."""
        return self._internal.sender(scope) is not None

    def _apart(self, info: Info) -> str | None:
        """The handler label of a request that is counted apart from its route, or None."""
        if self.is_internal(info.request.scope):
            return INTERNAL
        kind = info.response.headers.get("content-type", "") if info.response is not None else ""
        waits = info.method == "GET" and _WAIT.search(info.request.scope["query_string"])
        if waits or info.modified_handler.endswith(_STREAM) or kind.startswith("text/event-stream"):
            return WAITING
        return None


_HEALTH = "/health"
_STREAM = "/stream"


class LogContext:
    """Puts the service's name and the request's correlation id on every log line.

    Args:
        app: the next ASGI application.
        name: of the service.
    """

    def __init__(self, app: ASGIApp, name: str) -> None:
        self.app = app
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            logs.service_name.set(self._name)
            if correlation := _header(scope, b"x-correlation-id"):
                logs.correlation_id.set(correlation_of(correlation))
        await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a request body over the limit, by its ``Content-Length`` or as soon as it has grown too long.

    The error is raised where the body is read, so a route that reads none answers as usual.

    Args:
        app: the next ASGI application.
        max_bytes: the limit.
        streams: whether a request's body is read piece by piece, by a route that has limits of its own.
    """

    def __init__(
        self, app: ASGIApp, max_bytes: int, streams: Callable[[Scope], bool] = lambda _: False
    ) -> None:
        self.app = app
        self._limit = max_bytes
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket") and not self._streams(scope):
            length = _header(scope, b"content-length")
            if length is None:
                receive = _limited(receive, self._limit, 0)
            elif not length.isdigit() or int(length) > self._limit:
                receive = _limited(receive, self._limit, self._limit + 1)
        await self.app(scope, receive, send)


def _header(scope: Scope, name: bytes) -> bytes | None:
    """The value of a header; of a repeated one the last."""
    value = None
    for key, found in scope["headers"]:
        if key == name:
            value = found
    return value


def correlation_of(header: bytes) -> str:
    """The correlation id of a header; empty when it has characters that are not safe in a log."""
    return header.decode() if _CORRELATION.fullmatch(header) else ""


class BodyTooLargeError(Problem, HTTPException):
    """The body is over the limit. It is an HTTPException too, or FastAPI would answer 400."""

    headers: dict[str, str]

    def __init__(self, limit: int) -> None:
        super().__init__(413, "Content Too Large", f"The body may have {limit} bytes (MAX_BODY_BYTES).")


def _limited(receive: Receive, limit: int, seen: int) -> Receive:
    async def limited() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit and message["type"] == "http.request":
            await _drain(message, receive, DRAIN_FACTOR * limit)
            raise BodyTooLargeError(limit)
        return message

    return limited


async def _drain(message: Message, receive: Receive, spare: int) -> None:
    """Reads on for a while: a client that is still sending does not read the response."""
    while spare > 0 and message.get("more_body", False):
        message = await receive()
        spare -= len(message.get("body", b""))


class HeadRequests:
    """Answers HEAD as GET, without the body. A stream ends after its head."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self.app({**scope, "method": "GET"}, receive, send_head)


class UnhandledErrors:
    """Answers an unhandled error with status 500 and logs it once. It must be the outermost middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = scope["type"] != "http"

        async def send_and_note(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, send_and_note)
        except Exception as error:
            if started:
                raise
            answer = await errors.unexpected_error(Request(scope), error)
            await answer(scope, receive, send)
