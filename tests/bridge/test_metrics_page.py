"""The size of the bridge's metrics page once every route was called."""

import re
from typing import Any

from httpx import AsyncClient

from tests.bridge.events.test_intake import delivered, post
from tests.databases import on_sqlite

LARGEST_PAGE_BYTES = 64_000
#: Their responses have no end.
EVENT_STREAMS = ("/stream",)


async def call_every_route(bridge: AsyncClient) -> int:
    """Calls each operation of the OpenAPI document once; returns how many there are."""
    document = (await bridge.get("/openapi.json")).json()
    operations = [
        (method.upper(), re.sub(r"{[^}]*}", "1", path))
        for path, item in document["paths"].items()
        for method in item
    ]
    for method, path in operations:
        await _call(bridge, method, path)
    return len(operations)


async def _call(bridge: AsyncClient, method: str, path: str) -> None:
    body: dict[str, Any] = {} if method == "GET" else {"json": {}}
    async with bridge.stream(method, path, **body) as answer:
        if not path.endswith(EVENT_STREAMS):
            await answer.aread()


@on_sqlite
async def test_the_page_stays_small_after_every_route_was_called(bridge: AsyncClient) -> None:
    await delivered(bridge, (await post(bridge))["message_ids"][0])
    assert await call_every_route(bridge) > 40
    answer = await bridge.get("/metrics", headers={"accept-encoding": "identity"})
    assert len(answer.content) <= LARGEST_PAGE_BYTES
