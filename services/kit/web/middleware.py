"""What every request passes, as plain ASGI; and clients whose calls are counted and traced."""

import re

from prometheus_client import CollectorRegistry
from prometheus_fastapi_instrumentator.metrics import Info
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit import errors, logs
from services.kit.errors import Problem
from services.kit.telemetry.meters import Counter, Histogram

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
        # A stream of events is open for hours on purpose: it counts up to its first byte.
        is_stream = info.response is not None and info.response.headers.get("content-type", "").startswith(
            "text/event-stream"
        )
        seconds = info.modified_duration_without_streaming if is_stream else info.modified_duration
        self.duration.labels(method, info.modified_handler).observe(seconds)
        if info.modified_status == "5xx":
            self.errors.labels(method, info.modified_handler).inc()


class Envelope:
    """The service's name and the correlation id for the logs, and the size limit.

    A body over the limit is refused where somebody reads it: by its ``Content-Length``, or as soon
    as it has grown too long.
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
        if correlation := headers.get(b"x-correlation-id"):
            logs.correlation_id.set(correlation_of(correlation))
        length = headers.get(b"content-length")
        if length is None:
            receive = _limited(receive, self._limit, 0)
        elif not length.isdigit() or int(length) > self._limit:
            receive = _limited(receive, self._limit, self._limit + 1)
        await self.app(scope, receive, send)


def correlation_of(header: bytes) -> str:
    """The caller's correlation id; empty where it is nothing that we would repeat."""
    return header.decode() if _CORRELATION.fullmatch(header) else ""


class BodyTooLargeError(Problem, HTTPException):
    """The body is over the limit. Also an HTTPException: FastAPI makes a 400 of anything else."""

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
    """Reads on for a while: a client that is still sending hears no answer."""
    while spare > 0 and message.get("more_body", False):
        message = await receive()
        spare -= len(message.get("body", b""))


class LastCatch:
    """Outermost: answers and logs what nobody foresaw, once; the server would log it again."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            answer = await errors.unexpected_error(Request(scope), error)
            await answer(scope, receive, send)
