"""Taps on a client's buttons: answered at once, stored as responses, and reported to callback_url."""

from typing import Any

import pytest

from services.bridge.settings import BridgeSettings
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.bridge.people import ADA, GRACE, MALLORY, TEAM, Bridge, People, bridge_of, data_of
from tests.bridge.webhooks.test_results import SECRET, listening
from tests.conftest import BridgeFactory
from tests.servers import until

ROWS = [
    [{"text": "Log", "url": "https://ci.example/7"}],
    [{"text": "Retry", "data": "retry:7", "answer": "Again"}, {"text": "Ignore", "data": "ignore:7"}],
]


@pytest.fixture
def settings(bridge_settings: BridgeFactory, database_url: str) -> BridgeSettings:
    return bridge_settings(
        database_url=database_url, telegram_allowed_users=[ADA, GRACE], webhook_signing_secret=SECRET
    )


async def in_chat(people: People, bridge: Bridge, **event: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer to an event with buttons, and its message in the chat."""
    accepted = await bridge.post(title="Build 7 failed", buttons=ROWS, **event)
    return accepted, await people.question(event.get("chat_id", ADA), "Build 7 failed")


async def test_a_tap_is_answered_stored_and_reported(settings: BridgeSettings, people: People) -> None:
    async with listening() as program, bridge_of(settings) as bridge:
        accepted, message = await in_chat(people, bridge, callback_url=program.url, correlation_id="run-7")
        await people.tap(message, "Retry")
        await people.until_toast("Again")
        (response,) = await bridge.responses(correlation_id="run-7")
        await program.until_called(2)
        bodies = {body["type"]: body["data"] for body in map(program.verified, range(2))}
    assert (response["kind"], response["text"], response["user"]["id"]) == ("tap", "retry:7", ADA)
    assert response["in_reply_to"] == {
        "message_id": accepted["message_ids"][0],
        "event_id": accepted["event_id"],
        "approval_id": None,
    }
    assert bodies["button.tapped"] == {
        "message_id": accepted["message_ids"][0],
        "event_id": accepted["event_id"],
        "correlation_id": "run-7",
        "title": "Build 7 failed",
        "chat_id": ADA,
        "bot": "default",
        "text": "Retry",
        "data": "retry:7",
        "user": {"id": ADA, "name": "Ada (@ada)", "username": "ada"},
    }


async def test_each_tap_counts_and_without_an_answer_it_is_noted(talk: Bridge, people: People) -> None:
    _, message = await in_chat(people, talk, chat_id=TEAM)
    await people.tap(message, "Ignore", ADA)
    await people.tap(message, "Ignore", GRACE)
    await people.until_toast("Noted.")

    async def both() -> Any:
        found = await talk.responses()
        return found if len(found) == 2 else None

    assert [(one["text"], one["user"]["id"]) for one in await until(both)] == [
        ("ignore:7", ADA),
        ("ignore:7", GRACE),
    ]


async def test_a_stranger_s_tap_is_refused_and_not_stored(talk: Bridge, people: People) -> None:
    await people.sandbox.post("/chats", {"id": MALLORY, "title": "Mallory"})
    _, message = await in_chat(people, talk, chat_id=TEAM)
    await people.tap(message, "Retry", MALLORY)
    await people.until_toast("You may not use this bot.")
    assert await talk.responses() == []


async def test_data_of_another_chat_s_message_is_no_button(talk: Bridge, people: People) -> None:
    _, theirs = await in_chat(people, talk, chat_id=GRACE)
    copied = {"chat_id": ADA, "text": "copied", "reply_markup": theirs["reply_markup"]}
    answer = await people.sandbox.client.post(f"/bot{DEFAULT_TOKEN}/sendMessage", json=copied)
    assert answer.status_code == 200
    await people.tap(await people.question(ADA, "copied"), "Retry")
    await people.until_toast("not known")
    assert [one["in_reply_to"]["message_id"] for one in await talk.responses()] == [None]


async def test_an_update_without_buttons_takes_them_away(talk: Bridge, people: People) -> None:
    await in_chat(people, talk, update_key="build-7")
    await talk.post(title="Build 7 runs again", update_key="build-7")
    shown = await people.until_text(ADA, "runs again")
    assert data_of(shown) == []
