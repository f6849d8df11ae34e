"""A real Alertmanager (Debian's) in front of the real relay, with the sandbox behind it."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from tests.alert_relay import servers
from tests.alert_relay.conftest import Phone
from tests.alert_relay.servers import fire, needs_alertmanager
from tests.ports import free_port
from tests.servers import KEY, http, until

pytestmark = needs_alertmanager


@pytest.fixture
async def relay_url(relay_settings: AlertRelaySettings) -> AsyncIterator[str]:
    settings = relay_settings.model_copy(update={"database_url": SecretStr("")})
    async with running(app.create_app, settings) as service:
        yield service.url


@pytest.fixture
async def alertmanager(relay_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with servers.alertmanager(tmp_path, free_port(), relay_url) as client:
        yield client


async def test_an_alert_that_fires_is_told_and_its_resolution_too(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str
) -> None:
    await fire(alertmanager, "b1")
    await phone.messages(1)
    await fire(alertmanager, "b1", resolved=True)

    texts = [each["message"]["text"].splitlines()[0] for each in await phone.messages(2)]
    async with http(relay_url, key=KEY) as relay:
        (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert texts == ["🔥 HighErrorRate (critical)", "✅ HighErrorRate (critical) resolved"]
    assert (incident["state"], incident["receiver"]) == ("resolved", "team-a.telegram+x")


async def test_an_alert_that_could_not_be_stored_comes_again_and_is_told_once(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str, tmp_path: Path
) -> None:
    """Alertmanager retries a 503 within a second or so."""
    async with http(relay_url) as relay:
        with closing(sqlite3.connect(tmp_path / "alert_relay.db")) as other:
            other.execute("ALTER TABLE webhook RENAME TO gone")
            await fire(alertmanager, "b1")
            await until(lambda: _refused(relay))
            other.execute("ALTER TABLE gone RENAME TO webhook")

        (message,) = await phone.messages(1)
    assert message["message"]["text"].splitlines()[:2] == ["🔥 HighErrorRate (critical)", "Errors on b1"]


async def _refused(relay: httpx.AsyncClient) -> bool:
    refusals = 'http_requests_errors_total{handler="/webhook/alert",method="POST"} 0.0'
    return refusals not in (await relay.get("/metrics")).text.splitlines()
