"""Options beside the text, from a request to the chat: preview, protection, reply, pin."""

from typing import Any

import pytest
from httpx import AsyncClient

from services.bridge.events import send_options
from services.outbox.messages import Origin
from services.outbox.telegram.pin import MOST_TRIES
from tests.bridge.events.test_intake import delivered, message, post
from tests.contracts.test_events import posted
from tests.outbox.making import claimed
from tests.servers import Sandbox, until

OPERATIONS, ADA, GRACE = -1_001_000_000_001, 1001, 1002
HELLO: dict[str, Any] = {"type": "info_notification", "title": "hello"}
NO_RIGHTS = "not enough rights to manage pinned messages in the chat"


async def pins(sandbox: Sandbox) -> list[dict[str, Any]]:
    return [entry for entry in await sandbox.log() if entry.get("method") == "pinChatMessage"]


async def in_chat(sandbox: Sandbox, chat_id: int) -> list[dict[str, Any]]:
    return [call["message"] for call in await sandbox.delivered(chat_id)]


def causes(life: Any) -> str:
    return " ".join(change["cause"] for change in life["events"])


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (None, None),
        (True, {}),
        (False, {"is_disabled": True}),
        ("https://a.example/x", {"url": "https://a.example/x"}),
        ("http://jenkins/", {}),
        ({"size": "small", "above_text": True}, {"prefer_small_media": True, "show_above_text": True}),
        ({"show": False, "url": "https://a.example/"}, {"is_disabled": True}),
    ],
)
def test_a_preview_has_telegram_s_options(wanted: object, options: dict[str, Any] | None) -> None:
    assert send_options.of(posted(link_preview=wanted)).link_preview == options


def test_only_a_client_s_event_answers_a_message() -> None:
    body = '{"reply_to": "ABC"}'
    assert send_options.answered(claimed(body=body)) == "abc"
    assert send_options.answered(claimed(body=body, origin=Origin.BOT)) is None
    assert send_options.answered(claimed(body='{"title": "\\"reply_to\\""}')) is None
    assert send_options.answered(claimed(body='["reply_to", "reply_to\\": 1"')) is None


@pytest.mark.parametrize("named", ["message_ids", "event_id"])
async def test_a_reply_answers_the_message_of_its_own_chat(
    bridge: AsyncClient, sandbox: Sandbox, named: str
) -> None:
    first = await post(bridge, HELLO | {"chat_id": [ADA, GRACE]})
    name = first[named] if named == "event_id" else first[named][1]
    second = await post(
        bridge, HELLO | {"chat_id": [ADA, GRACE], "title": "answer", "reply_to": name.upper()}
    )
    for message_id in second["message_ids"]:
        await delivered(bridge, message_id)
    answers = {chat: (await in_chat(sandbox, chat))[1] for chat in (ADA, GRACE)}
    assert answers[GRACE]["reply_to_message"]["text"].endswith("hello")
    assert ("reply_to_message" in answers[ADA]) is (named == "event_id")


async def test_a_reply_to_what_is_not_there_is_sent_without_one(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    nothing = "01a1fd93-7b93-7466-ba5b-6bba60135904"
    answer = await post(bridge, HELLO | {"reply_to": nothing})
    await delivered(bridge, answer["message_ids"][0])
    (shown,) = await in_chat(sandbox, ADA)
    assert "reply_to_message" not in shown


async def test_a_pinned_message_says_so_in_its_history(bridge: AsyncClient, sandbox: Sandbox) -> None:
    answer = await post(bridge, HELLO | {"pin": True, "silent": True})
    life = await delivered(bridge, answer["message_ids"][0])
    assert "(pinned)" in causes(life)
    assert [call["message_id"] for call in await pins(sandbox)] == life["telegram_message_ids"]


async def test_a_message_that_cannot_be_pinned_is_delivered(bridge: AsyncClient, sandbox: Sandbox) -> None:
    await sandbox.post(f"/chats/{OPERATIONS}/forbid-pins")
    answer = await post(bridge, HELLO | {"pin": True, "chat_id": OPERATIONS})
    life = await delivered(bridge, answer["message_ids"][0])
    assert f"not pinned: {NO_RIGHTS}" in causes(life).replace("Not enough", "not enough")
    assert len(await in_chat(sandbox, OPERATIONS)) == 1


async def test_a_pin_waits_for_flood_control_and_the_message_is_not_sent_again(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    await sandbox.faults(
        {
            "kind": "answer",
            "status": 429,
            "description": "Too Many Requests: retry after 1",
            "parameters": {"retry_after": 1},
            "methods": ["pinChatMessage"],
        }
    )
    answer = await post(bridge, HELLO | {"pin": True})
    await delivered(bridge, answer["message_ids"][0])
    assert len(await in_chat(sandbox, ADA)) == 1
    assert [call.get("pinned") for call in await pins(sandbox)] == [None, True]


async def test_a_pin_without_an_answer_is_tried_again_and_then_given_up(
    bridge: AsyncClient, sandbox: Sandbox
) -> None:
    await sandbox.faults({"kind": "close", "methods": ["pinChatMessage"], "times": None})
    answer = await post(bridge, HELLO | {"pin": True, "on_unknown": "hold"})

    async def retried() -> Any:
        life = await message(bridge, answer["message_ids"][0])
        return life if life["attempts_made"] >= 3 else None

    life = await until(retried)
    assert life["status"] in ("retry_wait", "sending", "queued")
    assert len(await in_chat(sandbox, ADA)) == 1
    assert MOST_TRIES == 5
    await sandbox.no_faults()
    assert "(pinned)" in causes(await delivered(bridge, answer["message_ids"][0]))


async def test_an_edit_keeps_the_pin_and_is_not_pinned_again(bridge: AsyncClient, sandbox: Sandbox) -> None:
    for title in ("first", "second"):
        answer = await post(bridge, HELLO | {"pin": True, "title": title, "update_key": "build-7"})
        await delivered(bridge, answer["message_ids"][0])
    assert len(await pins(sandbox)) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("link_preview", False),
        ("protect_content", True),
        ("reply_to", "01a1fd93-7b93-7466-ba5b-6bba60135904"),
        ("pin", True),
    ],
)
async def test_an_approval_refuses_what_it_does_not_have(
    bridge: AsyncClient, field: str, value: object
) -> None:
    question = {
        "type": "approval_request",
        "title": "Deploy?",
        "data": {"approval_prompt": "?"},
        field: value,
    }
    answer = await bridge.post("/api/v1/events", json=question)
    assert (answer.status_code, answer.json()["errors"][0]["loc"]) == (422, [field])
