"""Errors of the smaller methods, with Telegram's texts; a refused call changes nothing."""

from typing import Any

import aiohttp
import orjson
import pytest

from services.telegram_sandbox.bot_api import message_methods
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.telegram_sandbox.conftest import ADA, NOON, OPERATIONS, TEAM, SandboxServer

Fields = dict[str, Any]
BUTTON = {"text": "Yes", "callback_data": "y"}


async def test_an_invalid_request_is_refused_before_the_chat_is_checked(server: SandboxServer) -> None:
    sent = await server.result("sendMessage", chat_id=ADA, text="hello")
    mine = {"chat_id": ADA, "message_id": sent["message_id"]}
    thumb = {"type": "emoji", "emoji": "👌"}
    cases: tuple[tuple[str, Fields, str], ...] = (
        ("sendChatAction", {"chat_id": ADA}, "wrong parameter action in request"),
        ("setMessageReaction", {"chat_id": ADA, "message_id": 999}, "message to react not found"),
        ("setMessageReaction", {"chat_id": ADA}, "message to react not found"),
        ("getFile", {"file_id": "guess"}, "invalid file_id"),
        ("setMessageReaction", mine | {"reaction": "{"}, "can't parse reaction types JSON object"),
        ("setMessageReaction", mine | {"reaction": {}}, "expected an Array of ReactionType"),
        ("setMessageReaction", mine | {"reaction": [5]}, "can't parse ReactionType: expected an Object"),
        (
            "setMessageReaction",
            mine | {"reaction": [{"type": "star"}]},
            "can't parse ReactionType: invalid reaction type specified",
        ),
        ("setMessageReaction", mine | {"reaction": [thumb, thumb]}, "REACTIONS_TOO_MANY"),
        ("setMessageReaction", mine | {"reaction": [thumb | {"emoji": "🙋"}]}, "REACTION_INVALID"),
        ("editMessageText", {"text": "x"}, "message identifier is not specified"),
        ("editMessageText", {"chat_id": ADA, "text": "x"}, "message to edit not found"),
        ("deleteMessage", {"chat_id": ADA, "message_id": 999}, "message to delete not found"),
        ("editMessageCaption", mine | {"caption": "x"}, "there is no caption in the message to edit"),
        ("editMessageText", mine | {"text": ""}, "message text is empty"),
        ("editMessageText", mine | {"text": "x" * 4097}, "MESSAGE_TOO_LONG"),
        ("editMessageText", mine | {"text": "\u200b"}, "text must be non-empty"),
        (
            "editMessageText",
            mine | {"text": "x", "entities": [{"type": "bold", "offset": 5, "length": 1}]},
            "entity begins after the end of the text at UTF-16 offset 5",
        ),
        (
            "editMessageText",
            mine | {"text": "x", "reply_markup": {"force_reply": True}},
            "inline keyboard expected",
        ),
        (
            "editMessageReplyMarkup",
            mine | {"reply_markup": "{"},
            "can't parse reply keyboard markup JSON object",
        ),
        (
            "editMessageReplyMarkup",
            mine | {"reply_markup": {"inline_keyboard": [[BUTTON | {"callback_data": "x" * 65}]]}},
            "BUTTON_DATA_INVALID",
        ),
        ("setMyCommands", {"commands": "none"}, "can't parse commands JSON object"),
        ("setMyCommands", {"commands": {}}, "expected an Array of BotCommand"),
        ("setMyCommands", {"commands": ["help"]}, "can't parse BotCommand: expected an Object"),
        ("setMyCommands", {"commands": [{}]}, "can't parse BotCommand: Can't find field \"command\""),
    )
    for method, fields, description in cases:
        assert await server.refusal(method, **fields) == (400, f"Bad Request: {description}"), method
    assert await server.result("editMessageText", **mine, text="hello again")


@pytest.mark.parametrize(
    ("command", "description"),
    [
        ({"command": "help me", "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "Help", "description": "x"}, "BOT_COMMAND_INVALID"),
        ({"command": "/", "description": "x"}, "command must be non-empty"),
        ({"command": "a" * 33, "description": "x"}, "command length must not exceed 32"),
        ({"command": "help", "description": " "}, "command description must be non-empty"),
        ({"command": "help", "description": "x" * 257}, "command description length must not exceed 256"),
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
        ([["Yes"]], "can't parse inline keyboard button: InlineKeyboardButton must be an Object"),
        ([[{"callback_data": "y"}]], "can't parse inline keyboard button: Can't find field \"text\""),
        ([[BUTTON | {"text": "\u200b"}]], "BUTTON_TEXT_INVALID"),
    ],
)
async def test_malformed_buttons_send_nothing(
    server: SandboxServer, rows: list[Any], description: str
) -> None:
    markup = {"inline_keyboard": rows}
    refused = await server.refusal("sendMessage", chat_id=ADA, text="Deploy?", reply_markup=markup)
    assert refused == (400, f"Bad Request: {description}")
    assert await server.log(kind="call", method="sendMessage", delivered=True) == []  # type: ignore[arg-type] # a flag


async def test_a_document_s_caption_is_checked_like_a_text(server: SandboxServer) -> None:
    link = {"type": "text_link", "offset": 0, "length": 1, "url": "http://grafana/"}
    for fields, description in (
        ({"caption": "x" * 1_025}, "message caption is too long"),
        (
            {"caption": "x", "caption_entities": [link]},
            "entity URL 'http://grafana/' is invalid: Wrong HTTP URL",
        ),
        (
            {"caption": "x", "caption_entities": [{}]},
            "can't parse MessageEntity: Can't find field \"offset\"",
        ),
        ({"caption": "x" * 32_769}, "text is too long"),
    ):
        form = aiohttp.FormData()
        form.add_field("chat_id", str(ADA))
        form.add_field("document", b"x", filename="a.txt")
        for name, value in ({"caption": "x"} | fields).items():
            form.add_field(name, value if isinstance(value, str) else orjson.dumps(value).decode())
        async with server.http.post(f"{server.url}/bot{DEFAULT_TOKEN}/sendDocument", data=form) as answer:
            assert (await answer.json())["description"] == f"Bad Request: {description}"


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
