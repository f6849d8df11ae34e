"""bridge and alert-relay send for one bot: together they keep to its rate and to the pace of a chat.

Alerts go before a backlog.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge import app as bridge
from services.bridge.settings import BridgeSettings
from services.outbox.rate_limit.buckets import LocalBuckets
from tests import redis_server
from tests.alert_relay import payloads
from tests.servers import KEY, Sandbox, client_of, until

RATE = 10.0
CHAT_RATE = 4.0
EVENTS, ALERTS = 30, 8
CHAT = 1001
BridgeFactory = Callable[..., BridgeSettings]


def _relay_settings(like: BridgeSettings) -> AlertRelaySettings:
    """The same bot and the same rates."""
    return AlertRelaySettings(
        port=0,
        data_dir=like.data_dir / "relay",
        api_key=SecretStr(KEY),
        telegram_api_url=like.telegram_api_url,
        telegram_bot_per_second=like.telegram_bot_per_second,
        telegram_chat_per_second=like.telegram_chat_per_second,
        telegram_group_per_minute=0,
        redis_url=like.redis_url,
    )


async def _post_events(client: httpx.AsyncClient, count: int = EVENTS) -> None:
    events = [{"type": "task_completion", "title": f"event {number}"} for number in range(count)]
    (await client.post("/events", json=events)).raise_for_status()


async def _post_alerts(client: httpx.AsyncClient) -> None:
    for number in range(ALERTS):
        alert = payloads.alert(f"host-{number}", name=f"Alert{number}")
        (await client.post("/webhook/alert", json=payloads.webhook(alert))).raise_for_status()


async def test_the_suite_keeps_to_one_rate_and_alerts_do_not_wait_for_a_backlog(
    bridge_settings: BridgeFactory, sandbox: Sandbox
) -> None:
    settings = bridge_settings(telegram_bot_per_second=RATE)
    beside = LocalBuckets()
    async with (
        client_of(partial(bridge.create_app, beside=beside), settings) as events,
        client_of(partial(alert_relay.create_app, beside=beside), _relay_settings(settings)) as alerts,
    ):
        await _post_events(events)
        await _post_alerts(alerts)

        async def all_there() -> bool:
            return len(await sandbox.delivered(CHAT)) == EVENTS + ALERTS

        await until(all_there)
    sent = await sandbox.delivered(CHAT)
    first, last = float(sent[0]["time"]), float(sent[-1]["time"])
    # A second's worth at once, and then the rate of one bot.
    assert last - first >= (EVENTS + ALERTS - RATE) / RATE - 0.2
    alerts_at = [place for place, call in enumerate(sent) if "Alert" in call["text"]]
    # The backlog was there first, and was there to the end.
    assert alerts_at[-1] < EVENTS


@pytest.fixture(params=["in one process", "through Redis"])
async def redis_url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """Empty: without Redis."""
    if request.param == "in one process":
        yield ""
        return
    with redis_server.running(tmp_path) as redis:
        await until(redis.answers)
        yield redis.url


async def test_the_suite_keeps_to_the_pace_of_a_chat(
    bridge_settings: BridgeFactory, sandbox: Sandbox, redis_url: str
) -> None:
    settings = bridge_settings(telegram_chat_per_second=CHAT_RATE, redis_url=redis_url)
    beside = None if redis_url else LocalBuckets()
    async with (
        client_of(partial(bridge.create_app, beside=beside), settings) as events,
        client_of(partial(alert_relay.create_app, beside=beside), _relay_settings(settings)) as alerts,
    ):
        await asyncio.gather(_post_events(events, ALERTS), _post_alerts(alerts))

        async def all_there() -> bool:
            return len(await sandbox.delivered(CHAT)) == 2 * ALERTS

        await until(all_there)
    sent = await sandbox.delivered(CHAT)
    first, last = float(sent[0]["time"]), float(sent[-1]["time"])
    # Each looks at the pace after its call, so it may be one message early.
    early = 2
    assert last - first >= (2 * ALERTS - settings.telegram_chat_burst - early) / CHAT_RATE - 0.2
