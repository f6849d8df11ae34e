"""What people do with incidents in Telegram: by a bot of alert-relay's own, and by the bridge's bot."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from services.alert_relay import app
from services.alert_relay.settings import AlertRelaySettings
from services.bridge.app import create_app as create_bridge
from services.bridge.settings import BridgeSettings
from services.kit.runner import running
from services.kit.settings import StartError, load
from services.telegram_sandbox import app as telegram_sandbox
from services.telegram_sandbox.settings import SandboxSettings
from tests import servers
from tests.alert_relay.payloads import alert, webhook
from tests.bridge.people import ADA, MALLORY, People, buttons, text_of
from tests.servers import KEY, Sandbox, until

TOKEN = f"1000000099:{'r' * 35}"
TEAM = -2001


@dataclass
class World:
    """A running relay, people in the sandbox, and what they see."""

    relay: httpx.AsyncClient
    people: People

    async def fire(self, *instances: str, **changes: Any) -> None:
        payload = webhook(*(alert(each, **changes) for each in instances or "a"))
        (await self.relay.post("/webhook/alert", json=payload)).raise_for_status()

    async def incident(self) -> dict[str, Any]:
        return dict((await self.relay.get("/api/v1/incidents")).json()["incidents"][0])

    async def until_state(self, state: str) -> dict[str, Any]:
        async def look() -> dict[str, Any] | None:
            found = await self.incident()
            return found if found["state"] == state else None

        found = await until(look)
        assert found is not None
        return found

    async def message(self, chat_id: int, part: str) -> dict[str, Any]:
        """Waits until the incident's message contains a text, and returns it."""

        async def look() -> dict[str, Any] | None:
            found = (await self.people.messages(chat_id))[:1]
            return found[0] if found and part in text_of(found[0]) else None

        found = await until(look)
        assert found is not None
        return found


@asynccontextmanager
async def world(folder: Path, *, own_bot: bool, **settings: Any) -> AsyncIterator[World]:
    sandbox_settings = SandboxSettings(port=0, data_dir=folder / "sandbox", sandbox_tokens=(TOKEN,))
    async with AsyncExitStack() as stack:
        telegram = await stack.enter_async_context(running(telegram_sandbox.create_app, sandbox_settings))
        sandbox = await stack.enter_async_context(Sandbox(telegram.url))
        shared: dict[str, Any] = {"port": 0, "api_key": SecretStr(KEY), "telegram_api_url": telegram.url}
        ours: dict[str, Any] = {"telegram_chat_ids": (ADA, TEAM), "telegram_chat_per_second": 0}
        if own_bot:
            ours["alert_bot_token"] = SecretStr(TOKEN)
        else:
            bridge = BridgeSettings(**shared, data_dir=folder / "bridge", telegram_allowed_users=(ADA, 1002))
            ours["bridge_url"] = (await stack.enter_async_context(running(create_bridge, bridge))).url
        relay_settings = AlertRelaySettings(**shared, **(ours | {"data_dir": folder} | settings))
        service = await stack.enter_async_context(running(app.create_app, relay_settings))
        client = await stack.enter_async_context(servers.http(service.url, key=KEY))
        yield World(client, People(sandbox))


@pytest.fixture(params=[True, False], ids=["own bot", "bridge's bot"])
async def anyhow(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, own_bot=request.param) as made:
        yield made


@pytest.fixture
async def own(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, own_bot=True) as made:
        yield made


async def test_a_person_takes_an_incident_and_everybody_sees_who(anyhow: World) -> None:
    await anyhow.fire()
    message = await anyhow.message(ADA, "🔥 HighErrorRate")
    assert buttons(message) == ["Acknowledge", "Resolve"]

    await anyhow.people.tap(message, "Acknowledge")

    taken = await anyhow.until_state("acknowledged")
    assert taken["acknowledged_by"]["kind"] == "telegram"
    assert taken["acknowledged_by"]["user_id"] == ADA
    for chat_id in (ADA, TEAM):
        shown = await anyhow.message(chat_id, "👤 Acknowledged by Ada")
        assert buttons(shown) == ["Give back", "Resolve"]


async def test_a_person_resolves_an_incident_and_its_buttons_go(anyhow: World) -> None:
    await anyhow.fire()
    message = await anyhow.message(ADA, "🔥 HighErrorRate")

    await anyhow.people.tap(message, "Resolve")

    await anyhow.until_state("resolved")
    shown = await anyhow.message(ADA, "👤 Resolved by Ada")
    assert buttons(shown) == []
    await anyhow.people.until_text(TEAM, "✅ HighErrorRate (critical) resolved")


async def test_the_open_incidents_are_listed(anyhow: World) -> None:
    await anyhow.fire("a", "b")
    await anyhow.message(ADA, "🔥 HighErrorRate")

    await anyhow.people.say(ADA, "/incidents")

    answer = text_of(await anyhow.people.until_text(ADA, "open incident"))
    assert answer.startswith("1 open incident\n🔥 HighErrorRate (critical) · 2 alerts · for ")


async def test_a_tap_that_is_repeated_or_comes_second_says_how_it_is(own: World) -> None:
    await own.fire()
    message = await own.message(TEAM, "🔥 HighErrorRate")

    for person in (ADA, ADA, 1002):
        await own.people.tap_data(message, data_of(message, "Acknowledge"), person)
    await own.people.until_toast("Ada")

    toasts = await own.people.toasts()
    assert toasts[:2] == ["You handle the incident now."] * 2
    assert toasts[2].startswith("Ada")
    assert toasts[2].endswith("handles the incident already.")
    assert (await own.incident())["version"] == 2


def data_of(message: dict[str, Any], label: str) -> str:
    (row,) = message["reply_markup"]["inline_keyboard"]
    return str(next(each["callback_data"] for each in row if each["text"] == label))


async def test_what_nobody_handles_for_too_long_is_reported_again(tmp_path: Path) -> None:
    async with world(tmp_path, own_bot=True, acknowledge_seconds=1.0) as made:
        await made.fire()
        await made.people.tap(await made.message(ADA, "🔥 HighErrorRate"), "Acknowledge")

        await made.people.until_text(ADA, "🔥 HighErrorRate (critical) still firing since")
        assert (await made.incident())["state"] == "firing"


async def test_only_named_users_may_handle_incidents_if_the_settings_name_some(tmp_path: Path) -> None:
    async with world(tmp_path, own_bot=True, alert_user_ids=(1002,)) as made:
        await made.people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
        await made.fire()
        message = await made.message(TEAM, "🔥 HighErrorRate")

        await made.people.tap(message, "Acknowledge", MALLORY)
        await made.people.until_toast("You may not handle incidents here")
        assert (await made.incident())["state"] == "firing"
        await made.people.tap(message, "Acknowledge", 1002)
        await made.until_state("acknowledged")


async def test_a_chat_that_blocked_the_bot_gets_alerts_again_at_once_when_it_writes(own: World) -> None:
    """A person who unblocks the bot and writes to it need not wait for the next try."""
    await own.people.sandbox.post(f"/chats/{ADA}/block")
    await own.fire(severity="warning")
    await own.message(TEAM, "🔥 HighErrorRate")
    await own.people.sandbox.post(f"/chats/{ADA}/unblock")

    await own.people.say(ADA, "/start")
    await own.people.until_text(ADA, "/incidents lists the open incidents")
    await own.fire("b", name="Other", severity="warning")

    await own.people.until_text(ADA, "Other")


async def test_a_command_that_names_another_bot_is_not_answered(own: World) -> None:
    await own.people.say(ADA, "/help@another_bot")
    await own.people.say(ADA, "/incidents")

    await own.people.until_text(ADA, "No incident is open.")
    answers = [text_of(each) for each in await own.people.messages(ADA) if each["from"]["is_bot"]]
    assert answers == ["No incident is open."]


async def test_a_stranger_learns_what_the_operator_needs(own: World) -> None:
    await own.people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    await own.people.say(MALLORY, "/start")

    answer = text_of(await own.people.until_text(MALLORY, "This chat gets no alerts"))
    assert f"Its id is {MALLORY}" in answer


def test_the_bridges_token_is_refused_as_a_bot_of_alert_relays_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("ALERT_BOT_TOKEN", TOKEN)
    with pytest.raises(StartError, match="ALERT_BOT_TOKEN: this is the token of TELEGRAM_BOT_TOKEN"):
        load(AlertRelaySettings)
