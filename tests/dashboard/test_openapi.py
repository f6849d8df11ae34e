"""Whatever the OpenAPI document allows, and much that it does not, is never a 500."""

import httpx

from services.kit.runner import Running
from tests import fuzzing, servers
from tests.dashboard.suite import KEY, Suite


async def test_every_operation_is_in_the_document(visitor: httpx.AsyncClient) -> None:
    paths = (await visitor.get("/openapi.json")).json()["paths"]
    assert {"/api/state", "/api/history", "/api/messages", "/api/messages/{message_id}"} <= set(paths)
    assert {"/login", "/logout", "/dashboard/", "/health", "/metrics"} <= set(paths)


@fuzzing.mark
async def test_nothing_that_can_be_sent_is_the_dashboards_own_failure(
    dashboard: Running, visitor: httpx.AsyncClient, suite: Suite
) -> None:
    suite.deliver(suite.accept("Build finished"))
    async with servers.http(dashboard.url, key=KEY) as client:
        await fuzzing.try_everything(client, examples=20)
    assert 'http_requests_total{handler="/api/messages",method="GET",status="2xx"}' in (
        (await visitor.get("/metrics")).text
    )
