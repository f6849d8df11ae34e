"""The dashboard with the real services of the suite."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.alert_relay.app import create_app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge.app import create_app as bridge
from services.bridge.settings import BridgeSettings
from services.dashboard.app import create_app as dashboard
from services.dashboard.settings import DashboardSettings
from services.kit.runner import running
from services.mcp_health.app import create_app as mcp_health
from services.mcp_health.settings import McpHealthSettings
from services.telegram_sandbox.app import create_app as sandbox
from services.telegram_sandbox.settings import SandboxSettings
from tests import servers
from tests.alert_relay import payloads
from tests.dashboard.suite import KEY
from tests.dashboard.test_pollers import until_state


@dataclass
class House:
    """Every service of the suite on a port, and clients with the key."""

    bridge: httpx.AsyncClient
    relay: httpx.AsyncClient
    dashboard: httpx.AsyncClient


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    common: dict[str, Any] = {"port": 0, "data_dir": tmp_path, "api_key": KEY}
    async with AsyncExitStack() as stack:
        phone = await stack.enter_async_context(running(sandbox, SandboxSettings(**common)))
        sender = await stack.enter_async_context(
            running(bridge, BridgeSettings(**common, sandbox_url=phone.url))
        )
        relay = await stack.enter_async_context(
            running(alert_relay, AlertRelaySettings(**common, sandbox_url=phone.url))
        )
        urls: dict[str, Any] = {"bridge_url": sender.url, "alert_relay_url": relay.url}
        health = await stack.enter_async_context(
            running(mcp_health, McpHealthSettings(**common, **urls, sandbox_url=phone.url))
        )
        page = await stack.enter_async_context(
            running(
                dashboard,
                DashboardSettings(
                    **common, **urls, mcp_health_url=health.url, update_interval=100, password="a password"
                ),
            )
        )
        clients = [
            await stack.enter_async_context(servers.http(each.url, key=KEY)) for each in (sender, relay, page)
        ]
        yield House(*clients)


async def test_an_event_is_followed_from_the_queue_to_the_phone(house: House) -> None:
    posted = await house.bridge.post(
        "/api/v1/events", json={"type": "task_completion", "title": "Build finished", "source": "ci"}
    )
    assert posted.status_code == 202
    message_id = posted.json()["message_ids"][0]
    # The bridge measures totals and rates apart, each every second.
    await until_state(house.dashboard, lambda state: state["flow"]["delivered_total"] == 1)
    state = await until_state(house.dashboard, lambda state: state["flow"]["delivery_rate_percent"] == 100.0)
    assert state["flow"]["accepted_total"] == 1
    assert state["flow"]["latency_seconds"]["p50"] > 0
    state = await until_state(house.dashboard, lambda state: state["flow"]["queue_depth"] == 0)
    assert state["flow"]["failure"] is None

    found = (await house.dashboard.get("/api/messages", params={"q": "Build", "status": "delivered"})).json()
    assert [item["id"] for item in found["items"]] == [message_id]
    history = (await house.dashboard.get(f"/api/messages/{message_id}")).json()
    assert history["trace_id"] == posted.json()["trace_id"]
    assert [event["state"] for event in history["events"]] == ["queued", "sending", "delivered"]
    assert history["attempts"][0]["outcome"] == "sent"
    assert history["attempts"][0]["duration_ms"] > 0
    assert history["attempts"][0]["telegram_message_id"] == history["telegram_message_ids"][0]


async def test_every_service_tells_its_level_and_its_parts(house: House) -> None:
    state = await until_state(
        house.dashboard,
        lambda state: all(
            service["level"] == "healthy" and service["parts"]
            for service in state["services"]
            if service["name"] != "mcp-health"
        ),
    )
    parts = {part["name"]: part for part in state["services"][0]["parts"]}
    assert {"telegram_api", "message_queue", "file_system", "database"} <= set(parts)
    assert parts["telegram_api"]["last_check"] is not None
    checked = next(service for service in state["services"] if service["name"] == "mcp-health")
    assert "bridge" in {part["name"] for part in checked["parts"]}
    assert all(service["version"] and service["uptime_seconds"] for service in state["services"][:2])


async def test_an_alert_is_an_incident_until_it_is_resolved(house: House) -> None:
    fired = payloads.webhook(payloads.alert())
    assert (await house.relay.post("/webhook/alert", json=fired)).status_code == 200
    state = await until_state(house.dashboard, lambda state: state["incidents"]["items"])
    incident = state["incidents"]["items"][0]
    assert incident["state"] == "firing"
    assert incident["alertname"] == fired["groupLabels"]["alertname"]
    assert incident["opened_at"]
    over = payloads.webhook(payloads.alert(ends_at=payloads.START + 60))
    assert (await house.relay.post("/webhook/alert", json=over)).status_code == 200
    state = await until_state(
        house.dashboard, lambda state: state["incidents"]["items"][0]["state"] == "resolved"
    )
    assert state["incidents"]["items"][0]["resolved_at"]


async def test_the_bridges_own_refusals_come_through(house: House) -> None:
    wrong = await house.dashboard.get("/api/messages", params={"since": "yesterday"})
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["loc"][-1] == "since"
    unknown = await house.dashboard.get("/api/messages/01999999-0000-7000-8000-000000000000")
    assert unknown.status_code == 404
