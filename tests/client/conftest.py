"""A bridge whose Ada and Grace may decide, and a client of each kind."""

from collections.abc import AsyncIterator

import pytest

from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of
from tests.client.both import Either, either
from tests.conftest import BridgeFactory
from tests.servers import KEY, Sandbox


@pytest.fixture
async def talk(bridge_settings: BridgeFactory) -> AsyncIterator[Bridge]:
    settings = bridge_settings(telegram_chat_ids=[ADA], telegram_allowed_users=[ADA, GRACE])
    async with bridge_of(settings) as running:
        yield running


@pytest.fixture
def people(sandbox: Sandbox) -> People:
    return People(sandbox)


@pytest.fixture(params=["Client", "AsyncClient"])
async def cct(request: pytest.FixtureRequest, talk: Bridge) -> AsyncIterator[Either]:
    async with either(request.param, str(talk.client.base_url), KEY) as client:
        yield client
