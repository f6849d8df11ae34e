"""A bridge with a token and no chats: a person writes the printed code, and the chat gets the messages."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from services.alert_relay import app as alert_relay
from services.alert_relay.settings import AlertRelaySettings
from services.bridge.app import create_app
from services.bridge.first_chat.choice import FirstChat
from services.bridge.settings import BridgeSettings
from services.kit import runner
from tests import servers
from tests.alert_relay.payloads import alert, webhook
from tests.bridge.people import ADA, GRACE, TEAM, Bridge, People, bridge_of
from tests.conftest import BridgeFactory
from tests.database_copies import Copies
from tests.servers import KEY, Sandbox, until

TOKEN = "2000000003:a-token-of-a-real-bot-that-is-34-long"
EVENT = {"type": "task_completion", "title": "Build finished"}


@pytest.fixture
async def people(sandbox: Sandbox) -> People:
    await sandbox.post("/bots", {"token": TOKEN})
    return People(sandbox)


@pytest.fixture
def settings(bridge_settings: BridgeFactory, database_url: str) -> BridgeSettings:
    return bridge_settings(database_url=database_url, telegram_bot_token=TOKEN)


def choice_of(bridge: Bridge) -> FirstChat:
    choice: FirstChat = bridge.app.state.first_chat
    return choice


async def until_chosen(bridge: Bridge) -> list[int]:
    async def look() -> list[int] | None:
        answer = await bridge.client.get("/api/v1/bots")
        chats: list[int] = answer.json()["items"][0]["chat_ids"]
        return chats or None

    chats = await until(look)
    assert chats is not None
    return chats


async def component(bridge: Bridge) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (await bridge.client.get("/health")).json()["components"].get("first_chat")
    return found


async def test_who_writes_the_code_chooses_the_chat_and_may_answer(
    settings: BridgeSettings, people: People
) -> None:
    async with bridge_of(settings) as bridge:
        command = choice_of(bridge).command
        assert command is not None
        for path, body in (
            ("/events", EVENT),
            ("/api/v1/approvals", {"title": "Deploy?", "prompt": "now"}),
        ):
            refused = await bridge.client.post(path, json=body)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert "write the command that the log of the bridge shows" in refused.json()["detail"]
        assert (await component(bridge) or {})["status"] == "degraded"

        await people.say(ADA, "/start AAAA-BBBB-CCCC")
        await people.until_text(ADA, "The log of the bridge shows a command that chooses this chat")
        await people.say(ADA, command.lower())
        await people.until_text(ADA, "This chat gets the messages of CCTelegram from now on")
        assert await until_chosen(bridge) == [ADA]
        assert choice_of(bridge).command is None

        posted = await bridge.post(title="Build finished")
        assert (await bridge.until_message(posted["message_ids"][0], "delivered"))["chat_id"] == ADA
        approval = await bridge.ask()
        await people.tap(await people.question(ADA), "Deny")
        await bridge.until_status(approval["id"], "decided")
        # The code is used.
        await people.say(GRACE, command)
        await people.until_text(GRACE, "You are not authorised")
        assert await until_chosen(bridge) == [ADA]

        async def is_healthy() -> bool:
            return bool((await component(bridge) or {})["status"] == "healthy")

        await until(is_healthy)
    async with bridge_of(settings) as again:
        assert choice_of(again).command is None
        assert await until_chosen(again) == [ADA]


async def test_a_group_is_chosen_by_a_person_of_the_list(
    bridge_settings: BridgeFactory, database_url: str, people: People
) -> None:
    settings = bridge_settings(
        database_url=database_url, telegram_bot_token=TOKEN, telegram_allowed_users=[ADA]
    )
    async with bridge_of(settings) as bridge:
        command = choice_of(bridge).command
        assert command is not None
        await people.say(GRACE, command)
        await people.until_text(GRACE, "You are not authorised")
        await people.say(TEAM, command, person=ADA)
        assert await until_chosen(bridge) == [TEAM]


async def test_every_replica_knows_the_chat(
    bridge_settings: BridgeFactory, postgres_copies: Copies, people: People
) -> None:
    with postgres_copies.database() as url:
        settings = bridge_settings(database_url=url, telegram_bot_token=TOKEN)
        async with bridge_of(settings) as one, bridge_of(settings) as two:
            command = choice_of(one).command
            assert command == choice_of(two).command
            assert command is not None
            await people.say(ADA, command)
            assert [await until_chosen(one), await until_chosen(two)] == [[ADA], [ADA]]


async def test_a_file_waits_for_the_first_chat(
    bridge_settings: BridgeFactory, database_url: str, people: People, tmp_path: Path
) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    settings = bridge_settings(database_url=database_url, telegram_bot_token=TOKEN, events_dir=folder)
    async with bridge_of(settings) as bridge:
        file = folder / "waits.json"
        file.write_text('{"type": "task_completion", "title": "From a file"}')

        async def is_named() -> bool:
            found = (await bridge.client.get("/health")).json()["components"]["folder_intake"]
            return "No chat is set" in found.get("error", "")

        await until(is_named)
        assert not list(folder.glob("rejected/*"))
        command = choice_of(bridge).command
        assert command is not None
        await people.say(ADA, command)
        await people.until_text(ADA, "From a file")


@asynccontextmanager
async def relay_of(settings: AlertRelaySettings) -> AsyncIterator[Any]:
    async with (
        runner.running(alert_relay.create_app, settings) as running,
        servers.http(running.url, key=KEY) as client,
    ):
        yield client


async def test_alerts_go_to_the_first_chat_too_also_when_the_bridge_is_away(
    settings: BridgeSettings, people: People, tmp_path: Path
) -> None:
    async with runner.running(create_app, settings) as running:
        choice: FirstChat = running.app.state.first_chat
        of_relay = AlertRelaySettings(
            port=0,
            data_dir=tmp_path / "relay",
            api_key=KEY,
            telegram_bot_token=TOKEN,
            telegram_api_url=settings.telegram_api_url,
            bridge_url=running.url,
        )
        async with relay_of(of_relay) as relay:
            refused = await relay.post("/webhook/alert", json=webhook(alert()))
            assert refused.status_code == 503
            assert "No chat is set" in refused.json()["detail"]
            assert choice.command is not None
            await people.say(ADA, choice.command)

            async def is_taken() -> bool:
                answer = await relay.post("/webhook/alert", json=webhook(alert()))
                return bool(answer.status_code == 200)

            await until(is_taken)
            await people.until_text(ADA, "🔥")
    async with relay_of(of_relay) as relay:
        assert (await relay.post("/webhook/alert", json=webhook(alert(name="Other")))).status_code == 200
