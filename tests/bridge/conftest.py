"""A bridge whose Ada and Grace may decide, on each database."""

from collections.abc import AsyncIterator, Iterator

import pytest

from services.bridge.settings import BridgeSettings
from tests.bridge.people import ADA, GRACE, Bridge, People, bridge_of
from tests.conftest import BridgeFactory
from tests.database_copies import Copies
from tests.servers import Sandbox


@pytest.fixture
def people(sandbox: Sandbox) -> People:
    return People(sandbox)


@pytest.fixture
def settings(bridge_settings: BridgeFactory, database_url: str) -> BridgeSettings:
    return bridge_settings(database_url=database_url, telegram_allowed_users=[ADA, GRACE])


@pytest.fixture
async def talk(settings: BridgeSettings) -> AsyncIterator[Bridge]:
    async with bridge_of(settings) as running:
        yield running


@pytest.fixture
async def quick(bridge_settings: BridgeFactory) -> AsyncIterator[Bridge]:
    """On SQLite alone, for what no database changes."""
    async with bridge_of(bridge_settings(telegram_allowed_users=[ADA, GRACE])) as running:
        yield running


@pytest.fixture
def replicas(bridge_settings: BridgeFactory, postgres_copies: Copies) -> Iterator[BridgeSettings]:
    """Settings that several bridges can share: on PostgreSQL, since SQLite is one process's."""
    with postgres_copies.database() as url:
        yield bridge_settings(database_url=url, telegram_allowed_users=[ADA, GRACE])
