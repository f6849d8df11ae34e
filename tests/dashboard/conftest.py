from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.dashboard.app import create_app
from services.dashboard.settings import DashboardSettings
from services.kit.runner import Running, running
from tests import servers
from tests.dashboard.suite import KEY, PASSWORD, Suite, serving

Settings = Callable[..., DashboardSettings]


@pytest.fixture
async def suite() -> AsyncIterator[Suite]:
    async with serving(Suite()) as up:
        yield up


@pytest.fixture
def make_settings(tmp_path: Path) -> Settings:
    def made(suite_url: str, **changes: Any) -> DashboardSettings:
        values: dict[str, Any] = {
            "port": 0,
            "data_dir": tmp_path,
            "api_key": KEY,
            "password": PASSWORD,
            "update_interval": 100,
            "bridge_url": f"{suite_url}/bridge",
            "mcp_health_url": f"{suite_url}/mcp",
            "alert_relay_url": f"{suite_url}/relay",
        }
        return DashboardSettings(**values | changes)

    return made


@pytest.fixture
async def dashboard(suite: Suite, make_settings: Settings) -> AsyncIterator[Running]:
    async with running(create_app, make_settings(suite.url)) as up:
        yield up


@pytest.fixture
async def visitor(dashboard: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a login."""
    async with servers.http(dashboard.url) as client:
        yield client


@pytest.fixture
async def viewer(visitor: httpx.AsyncClient) -> httpx.AsyncClient:
    """A client with a login."""
    answer = await visitor.post("/login", data={"username": "admin", "password": PASSWORD})
    assert answer.status_code == 303
    return visitor
