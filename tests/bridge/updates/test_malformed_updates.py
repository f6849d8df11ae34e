"""A malformed update of Telegram has no effect, and does not stop the bridge's handling of the next ones."""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from tests.bridge.people import ADA, bridge_of
from tests.conftest import BridgeFactory
from tests.outbox.telegram import odd_server
from tests.outbox.telegram.odd_server import OddServer, Reply, ok
from tests.servers import until
from tests.updates.making import text


@pytest.fixture
async def server() -> AsyncIterator[OddServer]:
    async with odd_server.running() as running:
        yield running


async def test_a_malformed_update_is_counted_and_those_after_it_are_handled(
    server: OddServer, bridge_settings: BridgeFactory, database_url: str
) -> None:
    bad = [
        {"update_id": 2, "message": {"from": 7, "text": "x"}},
        {"message": {}},
        text(4) | {"message": text(4)["message"] | {"chat": {"id": "zz"}}},
    ]
    updates = [text(1, "first"), *bad, text(5, "last")]

    def decide(method: str, data: Mapping[str, Any]) -> Reply | None:
        return ok(updates) if method == "getUpdates" and data["offset"] == 0 else None

    server.decide = decide
    settings = bridge_settings(
        database_url=database_url, telegram_api_url=server.url, telegram_allowed_users=[ADA]
    )
    async with bridge_of(settings) as bridge:

        async def both() -> bool:
            return [one["text"] for one in await bridge.responses()] == ["first", "last"]

        await until(both)
        await bridge.until_metric("cctelegram_telegram_updates_unreadable_total", 3.0)
        assert await bridge.metric("cctelegram_telegram_update_failures_total") == 0.0
