"""bridge and alert-relay behind a firewall: they reach Telegram by TELEGRAM_PROXY_URL alone."""

import logging
import re
from collections.abc import AsyncIterator, Callable, MutableMapping, Sequence
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge import app as bridge
from services.bridge.settings import BridgeSettings
from services.kit import logs
from services.kit.settings import StartError, load
from tests import proxies
from tests.alert_relay import payloads
from tests.proxies import ProxyServer
from tests.servers import KEY, Sandbox, client_of, until

#: No machine has this name: only the proxy knows where it leads.
TELEGRAM = "http://reached-by-the-proxy-alone:80"
CHAT = 1001
BridgeFactory = Callable[..., BridgeSettings]


@pytest.fixture(params=["http", "socks5"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def proxy(scheme: str, sandbox: Sandbox) -> AsyncIterator[ProxyServer]:
    handshake = proxies.http_connect if scheme == "http" else proxies.socks5
    async with proxies.running(handshake, "ada:hunter2") as running:
        running.redirect = sandbox.url.removeprefix("http://")
        yield running


@pytest.fixture
def behind(
    scheme: str, proxy: ProxyServer, bridge_settings: BridgeFactory
) -> Callable[[str], BridgeSettings]:
    """Settings of a bridge that has only the proxy, and gives it a password."""

    def make(password: str) -> BridgeSettings:
        url = SecretStr(f"{scheme}://ada:{password}@127.0.0.1:{proxy.port}")
        return bridge_settings(telegram_api_url=TELEGRAM, telegram_proxy_url=url)

    return make


async def test_the_bridge_sends_and_receives_through_the_proxy(
    behind: Callable[[str], BridgeSettings], proxy: ProxyServer, sandbox: Sandbox
) -> None:
    async with client_of(bridge.create_app, behind("hunter2")) as client:
        (
            await client.post("/events", json={"type": "task_completion", "title": "through"})
        ).raise_for_status()

        async def arrived() -> bool:
            return any("through" in text for text in await sandbox.texts(CHAT))

        async def receives() -> bool:
            updates = (await client.get("/health")).json()["components"]["telegram_updates"]
            return bool(updates["status"] == "healthy")

        await until(arrived)
        await until(receives)
    assert set(proxy.opened) == {TELEGRAM.removeprefix("http://")}


async def test_alert_relay_sends_through_the_proxy(
    behind: Callable[[str], BridgeSettings], proxy: ProxyServer, sandbox: Sandbox
) -> None:
    like = behind("hunter2")
    settings = AlertRelaySettings(
        port=0,
        data_dir=like.data_dir / "relay",
        api_key=SecretStr(KEY),
        telegram_api_url=TELEGRAM,
        telegram_proxy_url=like.telegram_proxy_url,
    )
    async with client_of(alert_relay.create_app, settings) as client:
        webhook = payloads.webhook(payloads.alert("host", name="DiskFull"))
        (await client.post("/webhook/alert", json=webhook)).raise_for_status()

        async def arrived() -> bool:
            return any("DiskFull" in text for text in await sandbox.texts(CHAT))

        await until(arrived)
    assert set(proxy.opened) == {TELEGRAM.removeprefix("http://")}


async def test_a_wrong_password_is_explained_and_shown_nowhere(
    behind: Callable[[str], BridgeSettings],
    proxy: ProxyServer,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = behind("wrong-hunter3")
    # As the events are before the log's own redaction.
    with capture_logs() as events:
        async with client_of(bridge.create_app, settings) as client:
            first, shown = await _first_attempt(client, events)
    assert (first["outcome"], first["reason"]) == ("not_sent", "connect_failed")
    assert re.search("407 Proxy Authentication Required|authentication failure", first["detail"])
    assert proxy.opened == []
    assert await sandbox.texts(CHAT) == []
    for secret in ("hunter3", "d3JvbmctaHVudGVyM"):
        assert secret not in caplog.text + str(events) + shown + repr(settings) + str(settings.model_dump())


async def _first_attempt(
    client: httpx.AsyncClient, events: Sequence[MutableMapping[str, Any]]
) -> tuple[dict[str, Any], str]:
    """What became of an event's first attempt, and all pages that show something of it."""
    event = {"type": "task_completion", "title": "stays"}
    accepted = (await client.post("/events", json=event)).json()
    pages = [f"/api/v1/messages/{accepted['message_ids'][0]}", "/health", "/metrics"]

    async def attempts() -> list[dict[str, Any]]:
        return [one for one in (await client.get(pages[0])).json()["attempts"] if one["outcome"]]

    async def polled() -> bool:
        return any(each["event"] == "get_updates_failed" for each in events)

    (first, *_) = await until(attempts)
    await until(polled)
    return first, "".join([(await client.get(page)).text for page in pages])


# Settings


def test_a_malformed_url_stops_the_start_by_its_name_and_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TELEGRAM_PROXY_URL", "socks4://ada:hunter2@proxy:1080")
    for settings in (BridgeSettings, AlertRelaySettings):
        with pytest.raises(StartError, match=r"^TELEGRAM_PROXY_URL: the scheme .* write http://") as refused:
            load(settings)
        assert "hunter2" not in str(refused.value)


def test_the_built_in_sandbox_is_called_directly() -> None:
    url = SecretStr("http://proxy:3128")
    built_in = BridgeSettings(telegram_proxy_url=url)
    assert built_in.proxy_of(built_in.api_url) is None
    assert str(built_in.proxy_of("http://elsewhere:8081")) == "http://proxy:3128"
    token = SecretStr("1:token")
    real = BridgeSettings(telegram_proxy_url=url, telegram_bot_token=token, telegram_chat_ids=(1,))
    assert str(real.proxy_of(real.api_url)) == "http://proxy:3128"
    assert BridgeSettings().proxy_of(TELEGRAM) is None


def test_the_log_s_redaction_knows_a_proxy_s_password() -> None:
    assert "hunter2" not in logs.redact("socks5://ada:hunter2@10.0.0.1:1080 refused")
