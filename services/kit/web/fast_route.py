"""The hot path: routes whose requests pass neither middleware nor router.

FastAPI's way to a handler costs several times what a durable intake does (docs/performance.md).
A hot route is declared, documented and counted like any other; only the way to it is short.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import Problem, unexpected_error
from services.kit.web.middleware import Envelope, HttpMetrics

Handler = Callable[[Request], Awaitable[Response]]


class HotRoute(APIRoute):
    """A route whose function gets the bare request and parses by itself."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        return self.endpoint


class HotRequest(Request):
    """A request without the layers of generators between its body and who reads it."""

    async def body(self) -> bytes:
        """The body, which can be read once.

        Raises:
            ClientDisconnect: the connection ended within it.
        """
        chunks: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)


class HotResponse(Response):
    """A JSON answer whose headers are written once, as bytes.

    Args:
        body: JSON.
        status: of the answer.
        headers: further ones, lower-case names.
    """

    def __init__(self, body: bytes, status: int, headers: Mapping[bytes, bytes] | None = None) -> None:
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *(headers or {}).items(),
        ]


class HotApp(FastAPI):
    """A FastAPI app that knows its hot routes."""

    hot: Mapping[str, ASGIApp] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        hot = self.hot.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if hot is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await hot(scope, receive, send)

    def take_short_way(self, routes: Mapping[str, Handler], metrics: HttpMetrics, limit: int) -> None:
        """Takes POST requests of these paths straight to their handlers.

        Args:
            routes: path → handler.
            metrics: where they are counted, as all requests are.
            limit: bytes that a body may have.
        """
        name = self.title.removeprefix("CCTelegram ")
        self.hot = {
            path: Envelope(_Counted(handler, path, metrics), name, limit) for path, handler in routes.items()
        }


class _Counted:
    """One hot handler, with its series bound once."""

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
            response = await self._answer(HotRequest(scope, receive))
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self._requests[status // 100].inc()
            if status >= 500:  # noqa: PLR2004 - the server's own failures
                self._errors.inc()
            self._duration.observe(time.perf_counter() - start)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except Problem as problem:
            return problem.response()
        except ClientDisconnect:  # nobody hears it; the client's doing, so no 5xx
            return Problem(400, "Bad Request", "The connection ended within the body.").response()
        except Exception as error:  # noqa: BLE001 - logged by unexpected_error(), and answered
            return await unexpected_error(request, error)
