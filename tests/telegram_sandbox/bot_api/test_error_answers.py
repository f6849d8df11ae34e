"""Errors of the smaller methods, with Telegram's texts; a refused call changes nothing."""

from typing import Any

import pytest

from services.telegram_sandbox.bot_api import message_methods
from tests.telegram_sandbox.conftest import ADA, NOON, OPERATIONS, TEAM, SandboxServer

Fields = dict[str, Any]
BUTTON = {"text": "Yes", "callback_data": "y"}


async def test_an_invalid_request_is_refused_before_the_chat_is_checked(server: SandboxServer) -> None:
    sent = await server.result("sendMessage", chat_id=ADA, text="hello")
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
        assert await server.refusal(method, **fields) == (400, f"Bad Request: {description}"), method
    assert await server.result("editMessageText", **mine, text="hello again")


@pytest.mark.parametrize(
    ("command", "description"),
    [
        ({"command": "Help me", "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "a" * 33, "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "help", "description": ""}, "BOT_COMMAND_DESCRIPTION_INVALID"),
        ({"command": "help", "description": "x" * 257}, "BOT_COMMAND_DESCRIPTION_INVALID"),
    ],
)
async def test_one_invalid_command_leaves_the_menu_unchanged(
    server: SandboxServer, command: Fields, description: str
) -> None:
    kept = {"command": "status", "description": "How it goes"}
    await server.result("setMyCommands", commands=[kept])
    assert await server.refusal("setMyCommands", commands=[kept, command]) == (
        400,
        f"Bad Request: {description}",
    )
    assert await server.result("getMyCommands") == [kept]


async def test_a_menu_has_at_most_a_hundred_commands(server: SandboxServer) -> None:
    menu = [{"command": f"c{number}", "description": "x"} for number in range(101)]
    assert await server.refusal("setMyCommands", commands=menu) == (400, "Bad Request: BOT_COMMANDS_TOO_MUCH")
    assert await server.result("setMyCommands", commands=menu[:100])
    assert len(await server.result("getMyCommands")) == 100


@pytest.mark.parametrize(
    ("rows", "description"),
    [
        ([BUTTON], 'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'),
        ([["Yes"]], "can't parse inline keyboard button: expected an Object"),
        ([[{"callback_data": "y"}]], "can't parse inline keyboard button: can't find field \"text\""),
        ([[BUTTON | {"text": ""}]], "BUTTON_TEXT_INVALID"),
    ],
)
async def test_malformed_buttons_send_nothing(
    server: SandboxServer, rows: list[Any], description: str
) -> None:
    markup = {"inline_keyboard": rows}
    refused = await server.refusal("sendMessage", chat_id=ADA, text="Deploy?", reply_markup=markup)
    assert refused == (400, f"Bad Request: {description}")
    assert await server.log(kind="call", method="sendMessage", delivered=True) == []  # type: ignore[arg-type] # a flag


async def test_a_document_by_url_is_not_fetched(server: SandboxServer) -> None:
    refused = await server.refusal("sendDocument", chat_id=ADA, document="https://example.com/report.pdf")
    assert refused == (400, "Bad Request: failed to get HTTP URL content")
    refused = await server.refusal("sendDocument", chat_id=ADA, document="guess")
    said = "wrong remote file identifier specified: can't unserialize it"
    assert refused == (400, f"Bad Request: {said}")


async def test_a_foreign_message_can_be_deleted_in_private_chats_only(server: SandboxServer) -> None:
    theirs = await server.control(f"/chats/{TEAM}/say", {"text": "mine"})
    hers = await server.control(f"/chats/{ADA}/say", {"text": "hers"})
    refused = await server.refusal("deleteMessage", chat_id=TEAM, message_id=theirs["message_id"])
    assert refused == (400, "Bad Request: message can't be deleted for everyone")
    assert await server.result("deleteMessage", chat_id=ADA, message_id=hers["message_id"])


async def test_a_file_too_large_for_download_can_still_be_sent(server: SandboxServer) -> None:
    """Bots may send 50 MB and download 20 MB."""
    kept = server.sandbox.files.add(
        next(iter(server.sandbox.bots)).id,
        "log.txt",
        "text/plain",
        b"x" * (message_methods.DOWNLOAD_LIMIT + 1),
    )
    assert await server.refusal("getFile", file_id=kept.id) == (400, "Bad Request: file is too big")
    sent = await server.result("sendDocument", chat_id=ADA, document=kept.id)
    assert sent["document"]["file_size"] == message_methods.DOWNLOAD_LIMIT + 1


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
async def test_an_impossible_action_of_a_person_is_refused_with_a_reason(
    server: SandboxServer, path: str, body: Any, detail: str
) -> None:
    async with server.http.post(f"{server.url}/control{path}", json=body) as answer:
        problem = await answer.json()
    assert 400 <= answer.status < 500
    assert detail in problem["detail"] or detail in str(problem.get("errors")), problem
    assert await server.log(kind="said") == []
    assert (await server.get("/control/clock"))["now"] == NOON
