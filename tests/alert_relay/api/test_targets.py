"""Targets are listed without secrets, with what they answered last, and can be tested."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from tests import servers
from tests.alert_relay.conftest import Phone
from tests.alert_relay.senders.loopback import MailServer, mail_server
from tests.servers import until

MAIL = "email:ada@example.com"
CHANNELS = '[slack.ops]\nwebhook_url = "http://127.0.0.1:1/services/hidden"'


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as server:
        yield server


@pytest.fixture
async def client(relay_settings: AlertRelaySettings, mails: MailServer) -> AsyncIterator[httpx.AsyncClient]:
    settings = relay_settings.model_dump() | {
        "alert_targets": MAIL,
        "alert_channels": SecretStr(CHANNELS),
        "smtp_url": SecretStr(f"smtp://127.0.0.1:{mails.port}"),
        "smtp_from": "alerts@example.com",
    }
    async with (
        running(app.create_app, AlertRelaySettings(**settings)) as service,
        servers.http(service.url, key=servers.KEY) as made,
    ):
        yield made


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    answer = await client.get("/api/v1/targets")
    assert "hidden" not in answer.text
    return {each["target"]: each for each in answer.json()["targets"]}


async def tried(client: httpx.AsyncClient, target: str) -> httpx.Response:
    return await client.post("/api/v1/targets/test", json={"target": target})


async def test_targets_are_listed_before_anything_was_sent(client: httpx.AsyncClient) -> None:
    found = await listed(client)
    assert {name: each["all_alerts"] for name, each in found.items()} == {
        "telegram:1001": True,
        MAIL: True,
        "slack:ops": False,
    }
    assert found[MAIL]["last_receipt"] is None
    assert found[MAIL]["last_failure"] is None


async def test_a_test_reaches_the_target_and_its_receipt_is_listed(
    client: httpx.AsyncClient, mails: MailServer, phone: Phone
) -> None:
    assert (await tried(client, MAIL)).status_code == 202
    assert (await tried(client, "telegram:1001")).status_code == 202

    (mail,) = await mails.until_mails(1)
    assert mail["subject"] == "Test: this target gets alerts"
    (message,) = await phone.messages(1)
    assert "Nothing is wrong" in message["message"]["text"]

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await listed(client))[MAIL]["last_receipt"]
        return found

    receipt = await until(look)
    assert receipt is not None
    assert receipt["detail"] == "250 2.0.0 queued as A1"


async def test_what_a_target_did_not_take_is_listed(client: httpx.AsyncClient) -> None:
    await tried(client, "slack:ops")

    async def look() -> dict[str, Any] | None:
        found: dict[str, Any] | None = (await listed(client))["slack:ops"]["last_failure"]
        return found

    failure = await until(look)
    assert failure is not None
    assert failure["reason"] == "connect_failed"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("ops", "names no channel"),
        ("email:ada", "no mail address"),
        ("slack:none", "ALERT_CHANNELS has no [slack.none]; known: ops"),
        ("pagerduty:ops", "ALERT_CHANNELS has no [pagerduty.ops]; known: none"),
    ],
)
async def test_a_target_that_cannot_be_is_refused(client: httpx.AsyncClient, target: str, error: str) -> None:
    answer = await tried(client, target)
    assert answer.status_code == 422
    assert error in answer.json()["errors"][0]["msg"]
