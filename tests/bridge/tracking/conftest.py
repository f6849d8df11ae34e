"""A bridge whose messages a test can hold back, refuse or lose, by the sandbox's faults."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.servers import until

ADA = 1001
Post = Callable[..., Awaitable[str]]
State = Callable[[str, str], Awaitable[dict[str, Any]]]


@pytest.fixture
def post(bridge: httpx.AsyncClient) -> Post:
    """Posts an event to one chat; answers the message's id."""

    async def send(title: str = "hello", **fields: Any) -> str:
        event = {"type": "custom_event", "title": title, "chat_id": ADA} | fields
        response = await bridge.post("/api/v1/events", json=event)
        assert response.status_code == 202, response.text
        return str(response.json()["message_ids"][0])

    return send


@pytest.fixture
def in_state(bridge: httpx.AsyncClient) -> State:
    """Waits until a message is in a state; answers its whole life."""

    async def wait(message_id: str, state: str) -> dict[str, Any]:
        async def there() -> dict[str, Any] | None:
            life: dict[str, Any] = (await bridge.get(f"/api/v1/messages/{message_id}")).json()
            return life if life["status"] == state else None

        return await until(there)

    return wait


def later() -> str:
    """In an hour: nothing is sent before a test has done what it does."""
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()
