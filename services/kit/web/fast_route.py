"""Fast routes: POST routes that skip FastAPI's router, dependency injection and request metrics middleware.

FastAPI takes several times as long to reach a handler as a durable intake takes to store an event (ADR 5).
A fast route is declared and documented like any other. It passes every middleware of the app that is not
in :data:`REPLACED`, its errors go to the app's exception handlers, and its function authenticates by itself:
a fast route refuses dependencies, because they would not run.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import Problem
from services.kit.web.auth import bearer
from services.kit.web.bodies import JsonBodies
from services.kit.web.client_address import ForwardedHeaders
from services.kit.web.middleware import INTERNAL, HeadRequests, HttpMetrics
from services.kit.web.security_headers import SecurityHeaders

Handler = Callable[[Request], Awaitable[Response]]

#: Middleware that a fast route does not pass: its own class below counts with the series bound once, its
#: function reads the headers of proxies only when a key is wrong, no browser shows its response, it takes
#: POST only, and it reads its body whatever its type.
REPLACED = frozenset(
    {PrometheusInstrumentatorMiddleware, ForwardedHeaders, SecurityHeaders, HeadRequests, JsonBodies}
)


class FastRoute(APIRoute):
    """A POST route without path parameters, whose function gets the bare request and parses it."""

    def get_route_handler(self) -> Callable[[Request], Any]:
        return self.endpoint


class FastRequest(Request):
    """A request whose body is read without Starlette's layers of generators."""

    async def body(self) -> bytes:
        """The body; it can be read once.

        Raises:
            ClientDisconnect: the connection ended before the body did.
        """
        chunks: list[bytes] = []
        while True:
            message = await self.receive()
            if message["type"] != "http.request":
                raise ClientDisconnect
            chunks.append(message.get("body", b""))
            if not message.get("more_body", False):
                return b"".join(chunks)


class FastResponse(Response):
    """A JSON response whose headers are written as bytes.

    Args:
        body: JSON.
        status: the HTTP status.
        headers: further headers; names in lower case.
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


class FastRouteApp(FastAPI):
    """A FastAPI app that sends requests for fast routes straight to their handlers."""

    #: Path → its handler.
    fast_routes: Mapping[str, ASGIApp] = {}
    #: Path → its handler inside the middleware; built at the first request, when all middleware is known.
    _fast_stacks: Mapping[str, ASGIApp] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fast = None
        if scope["type"] == "http" and scope["method"] == "POST":
            if self._fast_stacks is None:
                self._fast_stacks = self.build_fast_stacks()
            fast = self._fast_stacks.get(scope["path"])
        if fast is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await fast(scope, receive, send)

    def install_fast_routes(self, metrics: HttpMetrics) -> None:
        """Sends requests for the fast routes that are included so far straight to their handlers.

        Args:
            metrics: the request metrics of the app.

        Raises:
            ValueError: a fast route has a dependency, another method than POST, or a path parameter.
        """
        self.fast_routes = {
            str(route.path): _FastHandler(self, _checked(route), str(route.path), metrics)
            for route in iter_route_contexts(self.routes)
            if isinstance(route.original_route, FastRoute)
        }

    def build_fast_stacks(self) -> Mapping[str, ASGIApp]:
        """The fast routes inside their middleware, as ``build_middleware_stack`` does for other routes."""
        return {path: self._stack(handler) for path, handler in self.fast_routes.items()}

    def _stack(self, inner: ASGIApp) -> ASGIApp:
        stack = inner
        for layer, args, kwargs in reversed(self.user_middleware):
            if layer not in REPLACED:
                stack = layer(stack, *args, **kwargs)
        return stack


def _checked(route: RouteContext) -> Handler:
    # `bearer` refuses nothing: it names the scheme in the OpenAPI document.
    skipped = [dependency for dependency in route.dependant.dependencies if dependency.call is not bearer]
    if skipped or route.methods != {"POST"} or route.param_convertors:
        raise ValueError(f"{route.path}: a fast route takes POST, no path parameters and no dependencies.")
    handler: Handler = route.endpoint  # type: ignore[assignment] # FastAPI knows no more than a callable
    return handler


class _FastHandler:
    """The innermost part of a fast route: counts the request, runs the handler, answers its errors."""

    def __init__(self, owner: FastAPI, handler: Handler, path: str, metrics: HttpMetrics) -> None:
        self._owner = owner
        self._handler = handler
        self._metrics = metrics
        self._duration = metrics.duration.labels("POST", path)
        self._errors = metrics.errors.labels("POST", path)
        self._requests = {
            family: metrics.requests.labels("POST", path, f"{family}xx") for family in (2, 3, 4, 5)
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = time.perf_counter()
        status = 500
        try:
            response = await self._answer(FastRequest(scope, receive))
            status = response.status_code
            await response(scope, receive, send)
        finally:
            self._count(scope, status, time.perf_counter() - start)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        if self._metrics.is_internal(scope):
            self._metrics.count("POST", INTERNAL, f"{status // 100}xx")
            return
        self._requests[status // 100].inc()
        if status >= 500:  # noqa: PLR2004 - the server's own failures
            self._errors.inc()
        self._duration.observe(seconds)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._handler(request)
        except ClientDisconnect:  # the client's doing, so no 5xx; it reads no response
            return Problem(400, "Bad Request", "The connection ended within the body.").response()
        except Exception as error:
            handler = self._exception_handler(error)
            if handler is None:  # for the middleware that answers unhandled errors
                raise
            response: Response = await handler(request, error)
            return response

    def _exception_handler(self, error: Exception) -> Callable[[Request, Exception], Any] | None:
        """The app's handler for the class of the error, as Starlette chooses it for other routes."""
        handlers: Mapping[Any, Any] = self._owner.exception_handlers
        return next((handlers[kind] for kind in type(error).__mro__ if kind in handlers), None)
