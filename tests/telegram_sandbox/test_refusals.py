"""What the smaller methods refuse, in Telegram's words; and what a refused call leaves as it was."""

from typing import Any

import pytest

from services.telegram_sandbox import sending
from tests.telegram_sandbox.conftest import ADA, NOON, OPERATIONS, TEAM, Here

Fields = dict[str, Any]
BUTTON = {"text": "Yes", "callback_data": "y"}


async def test_refused_before_anything_is_looked_at(here: Here) -> None:
    sent = await here.result("sendMessage", chat_id=ADA, text="hello")
    mine = {"chat_id": ADA, "message_id": sent["message_id"]}
    cases: tuple[tuple[str, Fields, str], ...] = (
        ("sendChatAction", {"chat_id": ADA}, "wrong parameter action in request"),
        ("setMessageReaction", {"chat_id": ADA, "message_id": 999}, "message to react not found"),
        ("setMessageReaction", {"chat_id": ADA}, "message to react not found"),
        ("getFile", {"file_id": "guess"}, "invalid file_id"),
        ("editMessageText", {"chat_id": ADA, "text": "x"}, "message identifier is not specified"),
        ("deleteMessage", {"chat_id": ADA, "message_id": 999}, "message to delete not found"),
        ("editMessageCaption", mine | {"caption": "x"}, "there is no caption in the message to edit"),
        ("editMessageText", mine | {"text": ""}, "message text is empty"),
        ("editMessageText", mine | {"text": "x" * 4097}, "message is too long"),
        ("setMyCommands", {"commands": "none"}, "expected an Array of BotCommand"),
        ("setMyCommands", {"commands": ["help"]}, "can't parse BotCommand: expected an Object"),
    )
    for method, fields, description in cases:
        assert await here.refusal(method, **fields) == (400, f"Bad Request: {description}"), method
    assert await here.result("editMessageText", **mine, text="hello again")


@pytest.mark.parametrize(
    ("command", "description"),
    [
        ({"command": "Help me", "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "a" * 33, "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "help", "description": ""}, "BOT_COMMAND_DESCRIPTION_INVALID"),
        ({"command": "help", "description": "x" * 257}, "BOT_COMMAND_DESCRIPTION_INVALID"),
    ],
)
async def test_one_bad_command_leaves_the_menu_as_it_was(
    here: Here, command: Fields, description: str
) -> None:
    kept = {"command": "status", "description": "How it goes"}
    await here.result("setMyCommands", commands=[kept])
    assert await here.refusal("setMyCommands", commands=[kept, command]) == (
        400,
        f"Bad Request: {description}",
    )
    assert await here.result("getMyCommands") == [kept]


async def test_a_menu_has_a_hundred_commands_at_the_most(here: Here) -> None:
    menu = [{"command": f"c{number}", "description": "x"} for number in range(101)]
    assert await here.refusal("setMyCommands", commands=menu) == (400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    assert await here.result("setMyCommands", commands=menu[:100])
    assert len(await here.result("getMyCommands")) == 100


@pytest.mark.parametrize(
    ("rows", "description"),
    [
        ([BUTTON], 'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'),
        ([["Yes"]], "can't parse inline keyboard button: expected an Object"),
        ([[{"callback_data": "y"}]], "can't parse inline keyboard button: can't find field \"text\""),
        ([[BUTTON | {"text": ""}]], "BUTTON_TEXT_INVALID"),
    ],
)
async def test_malformed_buttons_send_nothing(here: Here, rows: list[Any], description: str) -> None:
    markup = {"inline_keyboard": rows}
    refused = await here.refusal("sendMessage", chat_id=ADA, text="Deploy?", reply_markup=markup)
    assert refused == (400, f"Bad Request: {description}")
    assert await here.log(kind="call", method="sendMessage", delivered=True) == []  # type: ignore[arg-type] # a flag


async def test_a_document_by_address_is_not_fetched(here: Here) -> None:
    refused = await here.refusal("sendDocument", chat_id=ADA, document="https://example.com/report.pdf")
    assert refused == (400, "Bad Request: failed to get HTTP URL content")
    refused = await here.refusal("sendDocument", chat_id=ADA, document="guess")
    said = "wrong remote file identifier specified: can't unserialize it"
    assert refused == (400, f"Bad Request: {said}")


async def test_a_message_of_somebody_else_can_be_taken_away_in_private_only(here: Here) -> None:
    theirs = await here.control(f"/chats/{TEAM}/say", {"text": "mine"})
    hers = await here.control(f"/chats/{ADA}/say", {"text": "hers"})
    refused = await here.refusal("deleteMessage", chat_id=TEAM, message_id=theirs["message_id"])
    assert refused == (400, "Bad Request: message can't be deleted for everyone")
    assert await here.result("deleteMessage", chat_id=ADA, message_id=hers["message_id"])


async def test_a_file_too_large_to_be_fetched_can_still_be_sent(here: Here) -> None:
    """Bots send up to 50 MB and fetch up to 20 MB."""
    kept = here.sandbox.files.add(
        next(iter(here.sandbox.bots)).id, "log.txt", "text/plain", b"x" * (sending.DOWNLOAD_LIMIT + 1)
    )
    assert await here.refusal("getFile", file_id=kept.id) == (400, "Bad Request: file is too big")
    sent = await here.result("sendDocument", chat_id=ADA, document=kept.id)
    assert sent["document"]["file_size"] == sending.DOWNLOAD_LIMIT + 1


@pytest.mark.parametrize(
    ("path", "body", "detail"),
    [
        (f"/chats/{TEAM}/block", None, "only a person can block a bot"),
        (f"/chats/{ADA}/kick", None, "a private chat has no members to change"),
        (f"/chats/{TEAM}/deactivate", None, "only a person can be deactivated"),
        (f"/chats/{ADA}/delete", None, "a private chat cannot be deleted"),
        (f"/chats/{ADA}/restrict", None, "a private chat has no rights to change"),
        (f"/chats/{ADA}/say", {"text": ""}, "a message needs a text"),
        (f"/chats/{OPERATIONS}/say", {"text": "x", "thread_id": 99}, "has no topic 99"),
        (f"/chats/{ADA}/say", {"text": "x", "reply_to": 999}, "has no message 999"),
    ],
)
async def test_what_people_cannot_do_is_said(here: Here, path: str, body: Any, detail: str) -> None:
    async with here.http.post(f"{here.url}/control{path}", json=body) as answer:
        told = await answer.json()
    assert 400 <= answer.status < 500
    assert detail in told["detail"] or detail in str(told.get("errors")), told
    assert await here.log(kind="said") == []
    assert (await here.get("/control/clock"))["now"] == NOON
