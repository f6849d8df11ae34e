"""Fast routes: how their body is read, and that they skip nothing that guards other routes."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter, Depends
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.kit.web.fast_route import FastRequest, FastRoute, FastRouteApp
from services.kit.web.internal import InternalRequests
from services.kit.web.middleware import HttpMetrics
from tests import servers
from tests.kit.apps import Live, kit_app, kit_settings, live

#: What requests for other routes pass and those for fast routes do not, with the reason.
NOT_PASSED = {
    "ServerErrorMiddleware": "UnhandledErrors is outside of both and answers first",
    "ExceptionTelemetryMiddleware": "FastAPI's own telemetry, which is off",
    "AppBodyLimitMiddleware": "FastAPI's own limit, which is not set: BodyLimit is ours",
    "OpenTelemetryMiddleware": "the spans of an event are written from its stored times",
    "ExceptionHandlerMiddleware": "belongs to OpenTelemetryMiddleware",
    "PrometheusInstrumentatorMiddleware": "the fast handler counts by itself, into the same metrics",
    "ExceptionMiddleware": "the fast handler calls the app's exception handlers by itself",
    "AsyncExitStackMiddleware": "closes uploaded files, and a fast route parses no form",
    "SecurityHeaders": "no browser shows the response of a fast route",
    "HeadRequests": "a fast route takes POST only",
    "JsonBodies": "a fast route reads its body whatever its type",
    "FastAPI router": "the fast handler takes its place",
}


def request(messages: Sequence[Message]) -> FastRequest:
    coming = iter(messages)

    async def receive() -> Message:
        return next(coming)

    return FastRequest({"type": "http", "headers": []}, receive)


def piece(body: bytes, *, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("messages", "body"),
    [
        ([piece(b"{}", more=False)], b"{}"),
        ([piece(b"[1", more=True), piece(b"", more=True), piece(b",2]", more=False)], b"[1,2]"),
        # Servers leave out what has its default.
        ([{"type": "http.request"}], b""),
    ],
)
async def test_a_body_is_put_together(messages: list[Message], body: bytes) -> None:
    assert await request(messages).body() == body


async def test_a_connection_that_ends_within_the_body_raises() -> None:
    with pytest.raises(ClientDisconnect):
        await request([piece(b"{", more=True), {"type": "http.disconnect"}]).body()


# What requests pass


def passed(app: ASGIApp | None) -> Iterator[str]:
    """The classes of a middleware stack, from the outside in."""
    while app is not None:
        # The innermost middleware has a method of the router instead of the router.
        router = isinstance(getattr(app, "__self__", app), APIRouter)
        yield "FastAPI router" if router else type(app).__name__
        app = None if router else getattr(app, "app", None)


async def test_a_fast_route_passes_every_middleware_that_other_routes_pass(tmp_path: Path) -> None:
    """A new middleware must act on fast routes too; if it cannot, its reason belongs in the table above."""
    async with live(tmp_path, otel_exporter_otlp_endpoint="http://127.0.0.1:9") as service:
        app = service.running.app
    assert isinstance(app, FastRouteApp)
    other = list(passed(app.build_middleware_stack()))
    (fast,) = app.build_fast_stacks().values()
    assert set(other) - set(passed(fast)) == set(NOT_PASSED)
    assert set(passed(fast)) - set(other) == {"_FastHandler"}
    shared = [name for name in other if name not in NOT_PASSED]
    assert shared == list(passed(fast))[:-1]


class Marked:
    """A middleware that a later change may add: it marks each response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marking(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-marked", b"yes"))
            await send(message)

        await self.app(scope, receive, marking)


async def test_a_middleware_that_is_added_later_acts_on_fast_routes(tmp_path: Path) -> None:
    def create(settings: ServiceSettings) -> FastRouteApp:
        app = kit_app(kit_settings(tmp_path))
        assert isinstance(app, FastRouteApp)
        app.add_middleware(Marked)
        return app

    async with servers.client_of(create, kit_settings(tmp_path)) as client:
        for path in ("/things", "/fast", "/fast?problem=1", "/fast?fail=1"):
            assert (await client.post(path, json={})).headers["x-marked"] == "yes", path


async def test_the_app_s_exception_handlers_answer_for_fast_routes(service: Live) -> None:
    refused = await service.http.post("/fast?forbidden=1")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
        "detail": "Not yours",
    }


# What a fast route cannot be


def fast_router(path: str = "/fast", methods: Sequence[str] = ("POST",)) -> APIRouter:
    router = APIRouter(route_class=FastRoute)

    @router.api_route(path, methods=list(methods))
    async def post(request: Request) -> Response:
        return Response(await request.body())

    return router


def guard() -> None: ...


@pytest.mark.parametrize(
    ("router", "dependencies"),
    [
        (fast_router(), [Depends(guard)]),
        (fast_router("/fast/{name}"), []),
        (fast_router(methods=["PUT"]), []),
    ],
    ids=["a dependency would not run", "a path parameter is not parsed", "only POST is fast"],
)
def test_a_route_that_would_lose_something_is_refused(router: APIRouter, dependencies: list[Any]) -> None:
    app = FastRouteApp()
    app.include_router(router, dependencies=dependencies)
    settings = ServiceSettings()
    metrics = HttpMetrics(Telemetry("tests", settings).registry, InternalRequests(settings))
    with pytest.raises(ValueError, match=r"^/fast.*: a fast route takes POST, no path parameters"):
        app.install_fast_routes(metrics)
