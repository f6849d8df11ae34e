import httpx
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from services.kit.runner import Running
from tests.dashboard.suite import KEY


async def test_every_operation_is_in_the_document(visitor: httpx.AsyncClient) -> None:
    paths = (await visitor.get("/openapi.json")).json()["paths"]
    assert {"/api/state", "/api/history", "/api/messages", "/api/messages/{message_id}"} <= set(paths)
    assert {"/login", "/logout", "/dashboard/", "/health", "/metrics"} <= set(paths)
