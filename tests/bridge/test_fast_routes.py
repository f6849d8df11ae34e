"""The intake consists of fast routes: no dependency runs, but every guard of other routes acts on them."""

from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, RouteContext, iter_route_contexts

from services.bridge import app as bridge_app
from services.bridge import state
from services.kit.web.auth import bearer
from services.kit.web.fast_route import FastRoute, FastRouteApp
from services.kit.web.login_blocker import FAILURES_BEFORE_BLOCK
from services.kit.web.metrics_access import require_metrics_access
from services.kit.web.strict_request import known_query
from tests.bridge.keys.test_api import bearer as header_of
from tests.bridge.keys.test_api import make
from tests.conftest import BridgeFactory
from tests.databases import on_sqlite

#: Each guard of other routes → the tests below that hold it for the intake, or why the intake needs none.
GUARDS: dict[Callable[..., Any], str] = {
    bearer: "names the scheme in the OpenAPI document, and refuses nothing",
    state.admitted: "key, block after wrong keys, scope, rate",
    require_metrics_access: "only of /metrics",
    known_query: "lets every POST without query parameters pass, such as the intake",
}
INTAKE = ("/events", "/api/v1/events")
EVERY_WAY = pytest.mark.parametrize("path", [*INTAKE, "/api/v1/approvals"])


def routes(app: FastAPI) -> Iterator[RouteContext]:
    return (each for each in iter_route_contexts(app.routes) if isinstance(each.original_route, APIRoute))


def test_the_other_routes_have_no_guard_that_the_intake_has_not(bridge_settings: BridgeFactory) -> None:
    """A new guard must be called by the intake too; then it gets a line in GUARDS and a test below."""
    app = bridge_app.create_app(bridge_settings())
    assert isinstance(app, FastRouteApp)
    fast = [route for route in routes(app) if isinstance(route.original_route, FastRoute)]
    assert {route.path for route in fast} == set(INTAKE) == set(app.fast_routes)
    guards = {depends.dependency for route in routes(app) for depends in route.dependencies}
    assert guards == set(GUARDS)
    assert app.router.dependencies == []


async def refused(bridge: httpx.AsyncClient, path: str, headers: dict[str, str]) -> httpx.Response:
    return await bridge.post(path, json={"title": "hello"}, headers=headers)


@on_sqlite
@EVERY_WAY
async def test_a_request_without_a_key_is_refused(bridge: httpx.AsyncClient, path: str) -> None:
    answer = await refused(bridge, path, {"authorization": ""})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


@on_sqlite
@EVERY_WAY
async def test_an_address_that_guesses_keys_is_blocked(bridge: httpx.AsyncClient, path: str) -> None:
    wrong = {"authorization": "Bearer cct_wrong"}
    statuses = [(await refused(bridge, path, wrong)).status_code for _ in range(FAILURES_BEFORE_BLOCK + 1)]
    assert statuses == [401] * FAILURES_BEFORE_BLOCK + [429]


@on_sqlite
@EVERY_WAY
async def test_a_key_without_the_scope_is_refused(bridge: httpx.AsyncClient, path: str) -> None:
    reader = await make(bridge, "messages:read")
    answer = await refused(bridge, path, header_of(reader))
    assert (answer.status_code, answer.json()["title"]) == (403, "Missing scope")


@on_sqlite
@EVERY_WAY
async def test_a_key_over_its_rate_is_refused(bridge: httpx.AsyncClient, path: str) -> None:
    slow = await make(bridge, "events:write", "approvals:write", requests_per_second=0.01)
    statuses = [(await refused(bridge, path, header_of(slow))).status_code for _ in range(2)]
    assert statuses[1] == 429
    assert statuses[0] != 429
