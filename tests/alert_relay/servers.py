"""Starts a real Alertmanager (Debian's) and posts alerts to it."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.kit.clock import SystemClock, rfc3339
from tests.servers import KEY, http, until

NAMES = ("prometheus-alertmanager", "alertmanager")
needs_alertmanager = pytest.mark.needs(*NAMES)

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
        max_alerts: {max_alerts}
        http_config:
          authorization:
            credentials_file: {key}
"""


@asynccontextmanager
async def alertmanager(
    folder: Path, port: int, relay_url: str, *, max_alerts: int = 0, gossip: tuple[int, int] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Runs while the block runs, and posts to the relay.

    Args:
        folder: of its configuration and state.
        port: of its API.
        relay_url: of the relay.
        max_alerts: that a webhook has at most; 0: no limit.
        gossip: its port for its peer, and its peer's; None: it has none.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    assert program is not None
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - of a test
    (folder / "key").write_text(KEY)
    config = folder / "alertmanager.yml"
    config.write_text(CONFIG.format(url=relay_url, key=folder / "key", max_alerts=max_alerts))
    address = f"127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        *_gossiping(gossip),
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with http(f"http://{address}") as client:
            await until(lambda: _ready(client))
            yield client
    finally:
        process.terminate()
        await process.wait()


def _gossiping(gossip: tuple[int, int] | None) -> list[str]:
    if gossip is None:
        return ["--cluster.listen-address="]
    own, peer = (f"127.0.0.1:{port}" for port in gossip)
    # A peer waits for the one before it.
    waits = ["--cluster.peer-timeout=1s", "--cluster.settle-timeout=1s"]
    return [f"--cluster.listen-address={own}", f"--cluster.peer={peer}", *waits]


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def fire(client: httpx.AsyncClient, *instances: str, resolved: bool = False, since: float = 60) -> None:
    """Posts alerts of one name to Alertmanager, as Prometheus does; they began ``since`` seconds ago."""
    now = SystemClock().time()
    posted: list[dict[str, Any]] = [
        {
            "labels": {"alertname": "HighErrorRate", "severity": "critical", "instance": instance},
            "annotations": {"summary": f"Errors on {instance}"},
            "startsAt": rfc3339(now - since),
            **({"endsAt": rfc3339(now)} if resolved else {}),
        }
        for instance in instances
    ]
    (await client.post("/api/v2/alerts", json=posted)).raise_for_status()
