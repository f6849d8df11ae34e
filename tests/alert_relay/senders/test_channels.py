"""Channels in the running service: from a webhook of Alertmanager to the receipt, also after a restart."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.kit.runner import running
from services.telegram_sandbox import app as telegram_sandbox
from services.telegram_sandbox.settings import SandboxSettings
from tests import servers
from tests.alert_relay.payloads import START, alert, webhook
from tests.alert_relay.senders.loopback import Answer, HttpServer, MailServer, http_server, mail_server
from tests.servers import until

KEY = "a1" * 16
TS = "1767225600.000123"
MAIL = "email:ada@example.com"


@pytest.fixture
async def mails() -> AsyncIterator[MailServer]:
    async with mail_server() as running_server:
        yield running_server


@pytest.fixture
async def programs() -> AsyncIterator[HttpServer]:
    answer = {"ok": True, "channel": "C0123456789", "ts": TS, "status": "success"}
    async with http_server(Answer(202, answer)) as running_server:
        yield running_server


@pytest.fixture
def settings(relay_settings: AlertRelaySettings, mails: MailServer, programs: HttpServer) -> dict[str, Any]:
    channels = f"""
[slack.bot]
token = "xoxb-1234567890"
channel = "C0123456789"
api_url = "{programs.url}/slack"
[slack.hook]
webhook_url = "{programs.url}/hook"
[pagerduty.ops]
routing_key = "{KEY}"
url = "{programs.url}/pagerduty"
"""
    return relay_settings.model_dump() | {
        "alert_channels": SecretStr(channels),
        "smtp_url": SecretStr(f"smtp://127.0.0.1:{mails.port}"),
        "smtp_from": "alerts@example.com",
        "alert_targets": f"{MAIL},slack:bot,slack:hook,pagerduty:ops",
    }


@asynccontextmanager
async def relay(settings: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        running(app.create_app, AlertRelaySettings(**settings)) as service,
        servers.http(service.url, key=servers.KEY) as client,
    ):
        yield client


async def post(client: httpx.AsyncClient, ends_at: float | None = None) -> None:
    answer = await client.post("/webhook/alert", json=webhook(alert(ends_at=ends_at)))
    assert answer.status_code == 200


async def test_an_incident_reaches_every_channel_from_firing_to_resolved(
    settings: dict[str, Any], mails: MailServer, programs: HttpServer
) -> None:
    async with relay(settings) as client:
        await post(client)
        await mails.until_mails(1)
        await programs.until_called(3)
        await post(client, START + 60)
        first, over = await mails.until_mails(2)

        # Slack's bot edits and answers, its incoming webhook only answers, PagerDuty resolves.
        calls = await programs.until_called(7)
        metrics = (await client.get("/metrics")).text
        await until(lambda: _is(client, "healthy"))

    assert over["in-reply-to"] == first["message-id"]
    paths = sorted(call.path for call in calls)
    assert paths == [
        "/hook",
        "/hook",
        "/pagerduty",
        "/pagerduty",
        "/slack/chat.postMessage",
        "/slack/chat.postMessage",
        "/slack/chat.update",
    ]
    actions = [call.body["event_action"] for call in calls if call.path == "/pagerduty"]
    assert actions == ["trigger", "resolve"]
    threads = [call.body.get("thread_ts") for call in calls if call.path == "/slack/chat.postMessage"]
    assert threads == [None, TS]
    assert 'cctelegram_notifications_total{channel="email",outcome="delivered"}' in metrics


async def test_a_mail_that_the_server_refused_for_now_is_sent_after_a_restart(
    settings: dict[str, Any], mails: MailServer
) -> None:
    settings |= {"alert_targets": MAIL, "retry_base_seconds": 0.1, "retry_cap_seconds": 0.2}
    mails.to = "450 greylisted"
    async with relay(settings) as client:
        await post(client)
        await until(lambda: _is(client, "unhealthy", "server_error"))
    assert mails.mails == []

    mails.to = "250 OK"
    async with relay(settings):
        (got,) = await mails.until_mails(1)
    assert got["to"] == "ada@example.com"


async def _is(client: httpx.AsyncClient, status: str, error: str | None = None) -> bool:
    found = (await client.get("/health")).json()["components"]["channel_email"]
    return bool(found["status"] == status and found.get("error") == error)


async def test_what_a_channel_refuses_for_good_is_a_dead_letter(
    settings: dict[str, Any], mails: MailServer
) -> None:
    settings["alert_targets"] = MAIL
    mails.to = "550 no such mailbox"
    async with relay(settings) as client:
        await post(client)

        async def look() -> list[dict[str, Any]]:
            return list((await client.get("/api/v1/dead-letters")).json()["dead_letters"])

        (dead,) = await until(look)

    assert dead["reason"] == "bad_request"


async def test_one_channel_that_waits_delays_no_other(
    settings: dict[str, Any], mails: MailServer, programs: HttpServer
) -> None:
    programs.answers = [Answer(429, b"", {"Retry-After": "3000"})]
    async with relay(settings) as client:
        await post(client)
        await programs.until_called(3)
        await post(client, START + 60)
        assert len(await mails.until_mails(2)) == 2


async def test_a_relay_without_channels_has_none_in_its_health(relay_settings: AlertRelaySettings) -> None:
    async with relay(relay_settings.model_dump()) as client:
        components = (await client.get("/health")).json()["components"]
    assert not [name for name in components if name.startswith("channel_")]


async def test_without_a_chat_alerts_go_to_the_other_targets(
    settings: dict[str, Any], mails: MailServer, tmp_path: Path
) -> None:
    """A real bot without a chat: the relay would refuse webhooks, but there is a mail address."""
    sandbox = SandboxSettings(
        port=0, data_dir=tmp_path / "other", sandbox_tokens=("5:real-token-of-tests-0123456789012345",)
    )
    async with running(telegram_sandbox.create_app, sandbox) as telegram:
        settings |= {
            "telegram_bot_token": SecretStr("5:real-token-of-tests-0123456789012345"),
            "telegram_api_url": telegram.url,
            "alert_targets": MAIL,
        }
        async with relay(settings) as client:
            await post(client)
            assert len(await mails.until_mails(1)) == 1
