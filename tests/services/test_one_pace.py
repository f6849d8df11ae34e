"""bridge and alert-relay send for one bot: together they keep to its rate, and alerts go before a backlog."""

from collections.abc import Callable
from functools import partial

import httpx
from pydantic import SecretStr

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge import app as bridge
from services.bridge.settings import BridgeSettings
from services.outbox.rate_limit.buckets import LocalBuckets
from tests.alert_relay import payloads
from tests.servers import KEY, Sandbox, client_of, until

RATE = 10.0
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
        telegram_bot_per_second=RATE,
        telegram_chat_per_second=0,
        telegram_group_per_minute=0,
    )


async def _post_events(client: httpx.AsyncClient) -> None:
    events = [{"type": "task_completion", "title": f"event {number}"} for number in range(EVENTS)]
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
