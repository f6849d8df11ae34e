"""A real Alertmanager (Debian's) in front of the real relay, with the sandbox behind it."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.clock import SystemClock, rfc3339
from services.kit.runner import running
from tests import servers
from tests.alert_relay.conftest import Phone, eventually
from tests.ports import free_port

NAMES = ("prometheus-alertmanager", "alertmanager")
ALERTMANAGER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.needs(*NAMES)

CONFIG = """
route:
  receiver: team-a.telegram+x
  group_by: [alertname]
  group_wait: 0s
  group_interval: 1s
  repeat_interval: 12h
receivers:
  - name: team-a.telegram+x
    webhook_configs:
      - url: {url}/webhook/alert
        send_resolved: true
        http_config:
          authorization:
            credentials_file: {key}
"""


@pytest.fixture
async def relay_url(relay_settings: AlertRelaySettings) -> AsyncIterator[str]:
    settings = relay_settings.model_copy(update={"database_url": SecretStr("")})
    async with running(app.create_app, settings) as service:
        yield service.url


@pytest.fixture
async def alertmanager(relay_url: str, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    (tmp_path / "key").write_text("the-key")
    config = tmp_path / "alertmanager.yml"
    config.write_text(CONFIG.format(url=relay_url, key=tmp_path / "key"))
    address = f"127.0.0.1:{free_port()}"
    assert ALERTMANAGER is not None
    process = await asyncio.create_subprocess_exec(
        ALERTMANAGER,
        f"--config.file={config}",
        f"--storage.path={tmp_path / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with servers.http(f"http://{address}") as client:
        await eventually(lambda: _ready(client))
        yield client
    process.terminate()
    await process.wait()


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def fire(alertmanager: httpx.AsyncClient, instance: str, *, resolved: bool = False) -> None:
    now = SystemClock().time()
    posted: dict[str, Any] = {
        "labels": {"alertname": "HighErrorRate", "severity": "critical", "instance": instance},
        "annotations": {"summary": f"Errors on {instance}"},
        "startsAt": rfc3339(now - 60),
    }
    if resolved:
        posted["endsAt"] = rfc3339(now)
    (await alertmanager.post("/api/v2/alerts", json=[posted])).raise_for_status()


async def test_an_alert_that_fires_is_told_and_its_resolution_too(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str
) -> None:
    await fire(alertmanager, "b1")
    await phone.messages(1)
    await fire(alertmanager, "b1", resolved=True)

    told = [each["message"]["text"].splitlines()[0] for each in await phone.messages(2)]
    async with servers.http(relay_url, key="the-key") as relay:
        (incident,) = (await relay.get("/api/v1/incidents")).json()["incidents"]
    assert told == ["🔥 HighErrorRate (critical)", "✅ HighErrorRate (critical) resolved"]
    assert (incident["state"], incident["receiver"]) == ("resolved", "team-a.telegram+x")


async def test_an_alert_that_could_not_be_stored_comes_again_and_is_told_once(
    alertmanager: httpx.AsyncClient, phone: Phone, relay_url: str, tmp_path: Path
) -> None:
    """Alertmanager retries a 503 within a second or so."""
    async with servers.http(relay_url) as relay:
        with closing(sqlite3.connect(tmp_path / "alert_relay.db")) as other:
            other.execute("ALTER TABLE webhook RENAME TO gone")
            await fire(alertmanager, "b1")
            await eventually(lambda: _refused(relay))
            other.execute("ALTER TABLE gone RENAME TO webhook")

        (told,) = await phone.messages(1)
    assert told["message"]["text"].splitlines()[:2] == ["🔥 HighErrorRate (critical)", "Errors on b1"]


async def _refused(relay: httpx.AsyncClient) -> bool:
    refusals = 'http_requests_errors_total{handler="/webhook/alert",method="POST"} 0.0'
    return refusals not in (await relay.get("/metrics")).text.splitlines()
