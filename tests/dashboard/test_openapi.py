"""Whatever the OpenAPI document allows, and much that it does not, is never a 500."""

import asyncio
from contextlib import suppress
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable

from services.kit.runner import Running
from tests.dashboard.suite import KEY, Suite


async def test_every_operation_is_in_the_document(visitor: httpx.AsyncClient) -> None:
    paths = (await visitor.get("/openapi.json")).json()["paths"]
    assert {"/api/state", "/api/history", "/api/messages", "/api/messages/{message_id}"} <= set(paths)
    assert {"/login", "/logout", "/dashboard/", "/health", "/metrics"} <= set(paths)


# The dashboard draws random ids in this process while a case is made, and hypothesis sees that
# some were drawn.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
async def test_nothing_that_can_be_sent_is_the_dashboards_own_failure(
    dashboard: Running, visitor: httpx.AsyncClient, suite: Suite
) -> None:
    suite.deliver(suite.accept("Build finished"))
    document = (await visitor.get("/openapi.json")).json()
    await asyncio.to_thread(_try_everything, document, dashboard.url)
    assert 'http_requests_total{handler="/api/messages",method="GET",status="2xx"}' in (
        (await visitor.get("/metrics")).text
    )


def _try_everything(document: dict[str, Any], url: str) -> None:
    schema = schemathesis.openapi.from_dict(document)
    for found in schema.get_all_operations():
        operation: Any = found.ok()  # type: ignore[union-attr] # an Err of the document fails here, as it should
        for mode in schemathesis.GenerationMode:
            with suppress(Unsatisfiable):  # an operation without parameters can be asked in one way only
                _try(operation.as_strategy(generation_mode=mode), url)


def _try(strategy: Any, url: str) -> None:
    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def check(case: Any) -> None:
        answer = case.call(base_url=url, headers={"Authorization": f"Bearer {KEY}"}, allow_redirects=False)
        assert answer.status_code < 500, (case.method, case.path, answer.text)

    check()
