"""Send: every row of Telegram's error table through a real HTTP answer, python-telegram-bot, and back."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.kit.clock import SystemClock
from services.outbox.messages import Document, Lane, Origin, Outcome, Reason, Rendered, Result, Text
from services.outbox.telegram import deletion, errors, http_request
from services.outbox.telegram import sender as telegram_sender
from services.outbox.telegram.answers import Me
from services.outbox.telegram.bot_api import Bot, make_bot
from services.outbox.telegram.sender import Sender
from services.outbox.telegram.text import Builder
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.making import ADA, claimed
from tests.ports import free_port
from tests.servers import BOT_ID, Sandbox, until

OPERATIONS = -1_001_000_000_001
HELLO = Rendered((Text("hello"),))
NOT_SENT, UNKNOWN = Outcome.NOT_SENT, Outcome.UNKNOWN


@pytest.fixture
async def sender(sandbox: Sandbox) -> AsyncIterator[Sender]:
    async with Sender(make_bot(DEFAULT_TOKEN, sandbox.url, 8), SystemClock()) as opened:
        yield opened


async def sent(sender: Sender, rendered: Rendered = HELLO, **changes: Any) -> Result:
    return await sender.send(claimed(**changes), rendered)


def answer(status: int, description: str, **parameters: Any) -> dict[str, Any]:
    return {
        "kind": "answer",
        "status": status,
        "description": description,
        "parameters": parameters or None,
    }


def raw(status: int, body: str, content_type: str = "text/html") -> dict[str, Any]:
    return {"kind": "raw", "status": status, "body": body, "content_type": content_type}


OK_TRUE = '{"ok": true, "result": true}'
NO_NUMBER = '{"ok": true, "result": {"message_id": "x"}}'
MIGRATED = "Bad Request: group chat was upgraded to a supergroup chat"
NO_GROUPS: tuple[Any, ...] = ("zz", 0, 1001, 1.5, True, [], -(2**53) - 1, 10**30, -(10**30))
NO_NUMBERS: tuple[Any, ...] = ("x", True, [5], {})
NO_ID = '{"ok": true, "result": {"message_id": null}}'
NO_MESSAGE_IDS = (
    "999999999999999999999999999999",
    "9007199254740993",
    "0",
    "-1",
    "1.0",
    "true",
    '"7"',
    "[7]",
)


def odd(status: int, description: str, **parameters: Any) -> dict[str, Any]:
    """An answer whose parameters may be anything that JSON can hold."""
    body = {"ok": False, "error_code": status, "description": description, "parameters": parameters}
    return raw(status, json.dumps(body), "application/json")


def id_of(message_id: str) -> str:
    return f'{{"ok": true, "result": {{"message_id": {message_id}}}}}'


ROWS: list[tuple[dict[str, Any], Outcome, Reason]] = [
    (answer(429, "Too Many Requests: retry after 5", retry_after=5), NOT_SENT, Reason.FLOOD_CONTROL),
    (answer(429, "Too Many Requests"), NOT_SENT, Reason.FLOOD_CONTROL),
    # A person's chat becomes no supergroup, and no answer may send its messages to another chat for good.
    (answer(400, MIGRATED, migrate_to_chat_id=-1_000_000_002_001), NOT_SENT, Reason.BAD_ANSWER),
    *((odd(400, MIGRATED, migrate_to_chat_id=bad), NOT_SENT, Reason.BAD_ANSWER) for bad in NO_GROUPS),
    *((odd(429, "Slow down", retry_after=bad), NOT_SENT, Reason.BAD_ANSWER) for bad in NO_NUMBERS),
    (odd(429, "Too Many Requests", retry_after=0), NOT_SENT, Reason.FLOOD_CONTROL),
    (odd(429, "Too Many Requests", retry_after=-5), NOT_SENT, Reason.FLOOD_CONTROL),
    (odd(429, "Slow down", retry_after=-5), NOT_SENT, Reason.FLOOD_CONTROL),
    (raw(429, '{"ok":false}', "application/json"), NOT_SENT, Reason.FLOOD_CONTROL),
    (odd(401, "Unauthorized", retry_after="x"), NOT_SENT, Reason.INVALID_TOKEN),
    (odd(500, "Internal Server Error", retry_after="x"), UNKNOWN, Reason.SERVER_ERROR),
    (raw(400, '{"ok":false,"description":7}', "application/json"), NOT_SENT, Reason.BAD_ANSWER),
    (raw(403, '{"ok":false,"parameters":[1]}', "application/json"), NOT_SENT, Reason.BAD_ANSWER),
    (answer(403, "Forbidden: bot was blocked by the user"), NOT_SENT, Reason.BOT_BLOCKED),
    (answer(403, "Forbidden: user is deactivated"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: the group chat was deleted"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bot was kicked from the group chat"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bot was kicked from the supergroup chat"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bot was kicked from the channel chat"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bot is not a member of the channel chat"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bot can't initiate conversation with a user"), NOT_SENT, Reason.BOT_BLOCKED),
    (answer(403, "Forbidden: the bot can't send messages to the bot"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: bots can't send messages to bots"), NOT_SENT, Reason.CHAT_GONE),
    (answer(403, "Forbidden: something new"), NOT_SENT, Reason.NO_RIGHTS),
    (raw(403, "<html><h1>Blocked by the firewall</h1></html>"), NOT_SENT, Reason.BAD_ANSWER),
    (raw(400, "<html>The plain HTTP request was sent to HTTPS port</html>"), NOT_SENT, Reason.BAD_ANSWER),
    (answer(400, "Bad Request: chat not found"), NOT_SENT, Reason.CHAT_NOT_FOUND),
    (answer(400, "Bad Request: private chat not found"), NOT_SENT, Reason.CHAT_NOT_FOUND),
    (answer(400, "Bad Request: chat_id is empty"), NOT_SENT, Reason.CHAT_NOT_FOUND),
    (answer(400, "Bad Request: PEER_ID_INVALID"), NOT_SENT, Reason.CHAT_NOT_FOUND),
    (
        answer(400, "Bad Request: not enough rights to send text messages to the chat"),
        NOT_SENT,
        Reason.NO_RIGHTS,
    ),
    (answer(400, "Bad Request: have no write access to the chat"), NOT_SENT, Reason.NO_RIGHTS),
    (
        answer(400, "Bad Request: need administrator rights in the channel chat"),
        NOT_SENT,
        Reason.NO_RIGHTS,
    ),
    (answer(400, "Bad Request: CHAT_WRITE_FORBIDDEN"), NOT_SENT, Reason.NO_RIGHTS),
    (answer(400, "Bad Request: message thread not found"), NOT_SENT, Reason.THREAD_NOT_FOUND),
    (answer(400, "Bad Request: TOPIC_CLOSED"), NOT_SENT, Reason.THREAD_NOT_FOUND),
    (answer(400, "Bad Request: message is too long"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: message caption is too long"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: text is too long"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: MESSAGE_TOO_LONG"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: MEDIA_CAPTION_TOO_LONG"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: message text is empty"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: text must be non-empty"), NOT_SENT, Reason.BAD_REQUEST),
    (
        answer(400, 'Bad Request: can\'t parse entities: Unsupported start tag "h1" at byte offset 0'),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (
        answer(400, "Bad Request: can't parse MessageEntity: can't find field \"url\""),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (answer(400, "Bad Request: can't parse caption entities JSON object"), NOT_SENT, Reason.BAD_MARKUP),
    (
        answer(400, "Bad Request: entity begins after the end of the text at UTF-16 offset 9"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (
        answer(400, "Bad Request: entity beginning at UTF-16 offset 1 ends in a middle of a UTF-16 symbol"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (
        answer(400, "Bad Request: receive an entity with incorrect offset -1"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (
        answer(400, "Bad Request: entity URL 'http://jenkins:8080/job/7' is invalid: Wrong HTTP URL"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    # A URL that contains the words of another refusal.
    (
        answer(400, "Bad Request: entity URL 'http://frozen_method_invalid/' is invalid: Wrong HTTP URL"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (
        answer(400, "Bad Request: entity URL 'http://a b/?bot was blocked by the user' is invalid: x"),
        NOT_SENT,
        Reason.BAD_MARKUP,
    ),
    (answer(400, "Bad Request: messageEntityPreCode.language must be encoded"), NOT_SENT, Reason.BAD_MARKUP),
    (answer(400, "Bad Request: invalid custom emoji identifier specified"), NOT_SENT, Reason.BAD_MARKUP),
    (answer(400, "Bad Request: ENTITY_BOUNDS_INVALID"), NOT_SENT, Reason.BAD_MARKUP),
    (answer(400, "Bad Request: ENTITIES_TOO_LONG"), NOT_SENT, Reason.BAD_MARKUP),
    (answer(400, "Bad Request: message to edit not found"), NOT_SENT, Reason.CANNOT_EDIT),
    (answer(400, "Bad Request: message can't be edited"), NOT_SENT, Reason.CANNOT_EDIT),
    (answer(400, "Bad Request: there is no text in the message to edit"), NOT_SENT, Reason.CANNOT_EDIT),
    (answer(400, "Bad Request: MESSAGE_ID_INVALID"), NOT_SENT, Reason.CANNOT_EDIT),
    (answer(400, "Bad Request: message can't be deleted"), NOT_SENT, Reason.CANNOT_DELETE),
    (answer(400, "Bad Request: message can't be deleted for everyone"), NOT_SENT, Reason.CANNOT_DELETE),
    (answer(400, "Bad Request: message to be replied not found"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: reply markup is too long"), NOT_SENT, Reason.TOO_LONG),
    (answer(400, "Bad Request: failed to get HTTP URL content"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: PHOTO_INVALID_DIMENSIONS"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: BUTTON_DATA_INVALID"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: wrong HTTP URL specified"), NOT_SENT, Reason.BAD_REQUEST),
    (answer(400, "Bad Request: FROZEN_METHOD_INVALID"), NOT_SENT, Reason.BOT_FROZEN),
    (answer(401, "Unauthorized"), NOT_SENT, Reason.INVALID_TOKEN),
    (answer(404, "Not Found"), NOT_SENT, Reason.INVALID_TOKEN),
    (
        answer(409, "Conflict: terminated by other getUpdates request; make sure that only one bot runs"),
        NOT_SENT,
        Reason.CONFLICT,
    ),
    (
        answer(409, "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook"),
        NOT_SENT,
        Reason.CONFLICT,
    ),
    (answer(409, "Conflict: terminated by setWebhook request"), NOT_SENT, Reason.CONFLICT),
    (answer(413, "Request Entity Too Large"), NOT_SENT, Reason.TOO_LARGE),
    (raw(413, "<html><h1>413 Request Entity Too Large</h1></html>"), NOT_SENT, Reason.TOO_LARGE),
    (raw(429, "<html>slow down</html>"), NOT_SENT, Reason.FLOOD_CONTROL),
    (raw(404, "<html>nothing here</html>"), NOT_SENT, Reason.INVALID_TOKEN),
    (answer(421, "Misdirected Request: unallowed token specified"), NOT_SENT, Reason.MISDIRECTED),
    (answer(500, "Internal Server Error: restart"), UNKNOWN, Reason.SERVER_ERROR),
    (answer(502, "Bad Gateway"), UNKNOWN, Reason.SERVER_ERROR),
    (answer(504, "Gateway Timeout"), UNKNOWN, Reason.SERVER_ERROR),
    (raw(502, "<html><h1>Bad Gateway</h1></html>"), UNKNOWN, Reason.SERVER_ERROR),
    (raw(503, ""), UNKNOWN, Reason.SERVER_ERROR),
    (raw(200, "<html>login to this wifi</html>"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, "", "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, "[]", "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, "null", "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, "[1, 2]", "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, '"ok"', "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, '{"ok": true}', "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, OK_TRUE, "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, NO_NUMBER, "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    (raw(200, NO_ID, "application/json"), UNKNOWN, Reason.BAD_ANSWER),
    *((raw(200, id_of(bad), "application/json"), UNKNOWN, Reason.BAD_ANSWER) for bad in NO_MESSAGE_IDS),
    ({"kind": "close"}, UNKNOWN, Reason.NO_ANSWER),
    ({"kind": "reset"}, UNKNOWN, Reason.NO_ANSWER),
    ({"kind": "close", "deliver": True}, UNKNOWN, Reason.NO_ANSWER),
]


def _name(row: Any) -> str:
    if not isinstance(row, dict):
        return str(row)
    return str(row.get("description") or f"{row['kind']} {row.get('status', '')} {row.get('body', '')}")[:60]


@pytest.mark.parametrize(("fault", "outcome", "reason"), ROWS, ids=_name)
async def test_what_an_answer_means(
    sandbox: Sandbox, sender: Sender, fault: dict[str, Any], outcome: Outcome, reason: Reason
) -> None:
    await sandbox.faults(fault)
    result = await sent(sender)
    assert (result.outcome, result.reason) == (outcome, reason), result.detail
    assert result.started_at <= result.finished_at
    assert result.message_id is None


BOLD = ({"type": "bold", "offset": 0, "length": 5},)


@pytest.mark.parametrize("part", [Text("hello", BOLD), Document("a.txt", b"x", Text("hello", BOLD))])
async def test_a_result_says_whether_the_text_was_sent_with_its_formatting(
    sandbox: Sandbox, sender: Sender, part: Text | Document
) -> None:
    await sandbox.faults(answer(400, "Bad Request: NEW_AND_UNKNOWN") | {"times": 2})
    refused = [await sent(sender, Rendered((part,)), plain=plain) for plain in (False, True)]
    assert [(one.reason, one.formatted) for one in refused] == [
        (Reason.BAD_REQUEST, True),
        (Reason.BAD_REQUEST, False),
    ]
    taken = [await sent(sender, Rendered((part,)), plain=plain) for plain in (False, True)]
    assert [one.detail for one in taken] == ["", telegram_sender.AS_PLAIN_TEXT]


async def test_text_without_formatting_is_not_called_plain(sandbox: Sandbox, sender: Sender) -> None:
    assert (await sent(sender, plain=True)).detail == ""
    await sandbox.faults(answer(400, "Bad Request: NEW_AND_UNKNOWN"))
    assert not (await sent(sender)).formatted


async def test_the_page_of_a_gateway_is_stored_in_part(sandbox: Sandbox, sender: Sender) -> None:
    await sandbox.faults(raw(502, "<html>" + "x" * 5_000))
    result = await sent(sender)
    assert (result.reason, len(result.detail)) == (Reason.SERVER_ERROR, errors.MAX_DETAIL)


async def test_an_edit_that_changes_nothing_has_arrived_before(sandbox: Sandbox, sender: Sender) -> None:
    first = await sent(sender)
    again = await sent(sender, edits=first.message_id)
    assert (again.outcome, again.reason, again.message_id) == (Outcome.SENT, Reason.NONE, first.message_id)
    (refused,) = [call for call in await sandbox.log() if call.get("method", "").lower() == "editmessagetext"]
    assert "message is not modified" in str(refused)


@pytest.mark.parametrize("lost", ["delete", "never"])
async def test_an_edit_of_what_is_gone_says_so(sandbox: Sandbox, sender: Sender, lost: str) -> None:
    first = await sent(sender)
    if lost == "delete":
        await sender.bot.call("deleteMessage", {"chat_id": ADA, "message_id": first.message_id})
    target = first.message_id if lost == "delete" else 999_999
    assert (await sent(sender, edits=target)).reason is Reason.CANNOT_EDIT


async def test_an_answer_to_a_message_that_is_gone_is_sent_all_the_same(
    sandbox: Sandbox, sender: Sender
) -> None:
    answering = Rendered((Text("an answer"),), reply_to=999_999)
    assert (await sent(sender, answering)).outcome is Outcome.SENT
    assert await sandbox.texts(ADA) == ["an answer"]


async def test_an_answer_with_a_message_id_is_sent(sandbox: Sandbox, sender: Sender) -> None:
    result = await sent(sender)
    (call,) = await sandbox.delivered(ADA)
    assert (result.outcome, result.reason, result.message_id) == (
        Outcome.SENT,
        Reason.NONE,
        call["message_id"],
    )


async def test_the_wait_that_telegram_asks_for_is_handed_on(sandbox: Sandbox, sender: Sender) -> None:
    await sandbox.faults(answer(429, "Too Many Requests: retry after 17", retry_after=17))
    assert (await sent(sender)).retry_after == 17.0


async def test_a_wait_given_as_a_timedelta_is_the_same(
    sandbox: Sandbox, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PTB_TIMEDELTA", "true")
    await sandbox.faults(answer(429, "Too Many Requests: retry after 17", retry_after=17))
    assert (await sent(sender)).retry_after == 17.0


@pytest.mark.parametrize(("seconds", "believed"), [(86_401, 86_400), (10**12, 86_400), (1.5, 2), (1, 1)])
async def test_a_wait_is_believed_up_to_a_day(
    sandbox: Sandbox, sender: Sender, seconds: float, believed: float
) -> None:
    await sandbox.faults(odd(429, "Too Many Requests", retry_after=seconds))
    result = await sent(sender)
    assert (result.reason, result.retry_after) == (Reason.FLOOD_CONTROL, believed)


async def test_the_new_id_of_a_group_is_handed_on(sandbox: Sandbox, sender: Sender) -> None:
    await sandbox.post("/chats/-2001/upgrade", {"new_id": -1_000_000_002_001}, method="PUT")
    result = await sent(sender, chat_id=-2001)
    assert (result.reason, result.migrate_to) == (Reason.CHAT_MIGRATED, -1_000_000_002_001)


async def test_no_group_becomes_itself(sandbox: Sandbox, sender: Sender) -> None:
    await sandbox.faults(answer(400, MIGRATED, migrate_to_chat_id=-2001))
    result = await sent(sender, chat_id=-2001)
    assert (result.outcome, result.reason, result.migrate_to) == (NOT_SENT, Reason.BAD_ANSWER, None)


@pytest.mark.parametrize(
    ("change", "chat_id", "reason"),
    [
        ("block", ADA, Reason.BOT_BLOCKED),
        ("deactivate", ADA, Reason.CHAT_GONE),
        ("kick", -2001, Reason.CHAT_GONE),
        ("leave", OPERATIONS, Reason.CHAT_GONE),
        ("restrict", OPERATIONS, Reason.NO_RIGHTS),
    ],
)
async def test_what_people_do_is_understood(
    sandbox: Sandbox, sender: Sender, change: str, chat_id: int, reason: Reason
) -> None:
    await sandbox.post(f"/chats/{chat_id}/{change}")
    result = await sent(sender, chat_id=chat_id)
    assert (result.outcome, result.reason) == (NOT_SENT, reason)


@pytest.mark.parametrize(
    ("change", "reason"), [("revoke", Reason.INVALID_TOKEN), ("freeze", Reason.BOT_FROZEN)]
)
async def test_a_refused_bot_is_told_from_a_refused_message(
    sandbox: Sandbox, sender: Sender, change: str, reason: Reason
) -> None:
    await sandbox.post(f"/bots/{BOT_ID}/{change}")
    assert (await sent(sender)).reason is reason


async def test_nobody_listens_so_nothing_was_sent() -> None:
    bot = make_bot(DEFAULT_TOKEN, f"http://127.0.0.1:{free_port()}", 1)
    async with Sender(bot, SystemClock()) as sender:
        result = await sent(sender)
        assert (result.outcome, result.reason) == (NOT_SENT, Reason.CONNECT_FAILED)
        assert await sender.check() is Reason.CONNECT_FAILED


async def test_no_error_repeats_the_token(sandbox: Sandbox) -> None:
    bot = make_bot(DEFAULT_TOKEN, f"http://127.0.0.1:{free_port()}", 1)
    async with Sender(bot, SystemClock()) as sender:
        assert DEFAULT_TOKEN not in (await sent(sender)).detail


async def test_an_answer_that_never_comes_is_unknown(
    sandbox: Sandbox, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_request, "READ_TIMEOUT_SECONDS", 0.2)
    await sandbox.faults({"kind": "hang", "seconds": 3, "deliver": True})
    result = await sent(sender)
    assert (result.outcome, result.reason) == (UNKNOWN, Reason.NO_ANSWER)
    await until(lambda: sandbox.delivered(ADA))


async def test_the_servers_own_wait_of_eight_seconds_is_waited_for(sandbox: Sandbox) -> None:
    """Telegram holds a request up to 8 s before it answers; giving up sooner would send twice."""
    assert http_request.READ_TIMEOUT_SECONDS >= 30
    assert make_bot(DEFAULT_TOKEN, sandbox.url, 1).request.read_timeout == http_request.READ_TIMEOUT_SECONDS


async def test_a_check_says_whether_telegram_takes_the_bot(sandbox: Sandbox, sender: Sender) -> None:
    assert isinstance(await sender.check(), Me)
    await sandbox.post(f"/bots/{BOT_ID}/revoke")
    assert await sender.check() is Reason.INVALID_TOKEN
    await sandbox.post(f"/bots/{BOT_ID}/restore")
    assert isinstance(await sender.check(), Me)
    await sandbox.faults(raw(200, OK_TRUE, "application/json") | {"methods": ["getMe"]})
    assert await sender.check() is Reason.BAD_ANSWER


async def test_many_calls_at_once_each_get_their_own_answer(sandbox: Sandbox, sender: Sender) -> None:
    results = await asyncio.gather(
        *(sent(sender, Rendered((Text(f"text {n}"),)), chat_id=ADA) for n in range(40))
    )
    texts = {call["message_id"]: call["text"] for call in await sandbox.delivered(ADA)}
    assert [texts[result.message_id] for result in results] == [f"text {n}" for n in range(40)]


# What is asked of Telegram


async def test_entities_and_silence_and_topic_arrive(sandbox: Sandbox, sender: Sender) -> None:
    bold = Rendered((Text("hello there", ({"type": "bold", "offset": 0, "length": 5},)),))
    await sent(sender, bold, chat_id=OPERATIONS, thread_id=7, silent=True)
    (call,) = await sandbox.delivered()
    assert (call["text"], call["silent"], call["thread_id"]) == ("hello there", True, 7)
    assert call["entities"] == [{"type": "bold", "offset": 0, "length": 5}]


async def test_the_general_topic_is_never_named(sandbox: Sandbox, sender: Sender) -> None:
    await sent(sender, chat_id=OPERATIONS, thread_id=1)
    (call,) = await sandbox.delivered()
    assert call["thread_id"] is None


async def test_plain_text_goes_without_entities(sandbox: Sandbox, sender: Sender) -> None:
    bold = Rendered((Text("hello", ({"type": "bold", "offset": 0, "length": 5},)),))
    await sent(sender, bold, plain=True)
    assert (await sandbox.delivered())[0]["entities"] is None


async def test_plain_text_has_the_urls_of_its_links(sandbox: Sandbox, sender: Sender) -> None:
    url = "https://ci.example/7"
    built = Builder().text("🔥 ").link("Open", url).text(" · ").bold("7").link(url, url).build()
    await sent(sender, Rendered((built,)), plain=True)
    assert (await sandbox.delivered())[0]["text"] == f"🔥 Open ({url}) · 7{url}"
    # Where the URLs do not fit, the text is worth more.
    long = Builder().link("x" * 4_090, url).build()
    await sent(sender, Rendered((long,)), plain=True)
    assert (await sandbox.delivered())[1]["text"] == "x" * 4_090


async def test_a_document_arrives_as_it_was(sandbox: Sandbox, sender: Sender) -> None:
    content = bytes(range(256)) * 300
    caption = Text("beginning …", ({"type": "italic", "offset": 0, "length": 9},))
    result = await sent(sender, Rendered((Document("log.txt", content, caption),)))
    assert result.outcome is Outcome.SENT
    (call,) = await sandbox.delivered()
    assert (call["method"].lower(), call["text"]) == ("senddocument", "beginning …")
    document = call["message"]["document"]
    assert (document["file_name"], document["file_size"]) == ("log.txt", len(content))
    file = await sender.bot.call("getFile", {"file_id": document["file_id"]})
    url = f"{sandbox.url}/file/bot{DEFAULT_TOKEN}/{file['file_path']}"
    assert (await sandbox.client.get(url)).content == content


KEYBOARD = {"inline_keyboard": [[{"text": "Yes", "callback_data": "yes"}]]}


@pytest.mark.parametrize(("part", "has_keyboard"), [(0, False), (1, True)])
def test_the_keyboard_belongs_to_the_last_part(part: int, has_keyboard: bool) -> None:
    rendered = Rendered((Text("one"), Text("two")), KEYBOARD)
    method, data = telegram_sender.request_of(claimed(part=part), rendered)
    assert (method, data["text"]) == ("sendMessage", ["one", "two"][part])
    assert ("reply_markup" in data) is has_keyboard
    assert not has_keyboard or data["reply_markup"] == KEYBOARD


def test_the_bot_stands_at_the_url_that_was_given() -> None:
    bot = make_bot(DEFAULT_TOKEN, "http://127.0.0.1:8083/", 1)
    assert isinstance(bot, Bot)
    assert bot.base_url == f"http://127.0.0.1:8083/bot{DEFAULT_TOKEN}"
    assert bot.base_file_url == f"http://127.0.0.1:8083/file/bot{DEFAULT_TOKEN}"


@pytest.mark.parametrize("lane", list(Lane))
async def test_the_bulk_lane_alone_may_exceed_the_free_rate_and_only_of_a_bot_that_pays(
    sandbox: Sandbox, lane: Lane
) -> None:
    await sandbox.limits(enabled=True, bot_per_second=1, chat_burst=9, hold_seconds=0)
    bot = make_bot(DEFAULT_TOKEN, sandbox.url, 8)
    async with Sender(bot, SystemClock(), pays_for_bulk=True) as paying:
        came = [(await sent(paying, lane=lane)).outcome for _ in range(3)]
    wanted = [Outcome.SENT] * 3 if lane is Lane.BULK else [Outcome.SENT, NOT_SENT, NOT_SENT]
    assert came == wanted
    charged = [call for call in await sandbox.delivered() if call.get("charged")]
    assert len(charged) == (2 if lane is Lane.BULK else 0)
    async with Sender(make_bot(DEFAULT_TOKEN, sandbox.url, 8), SystemClock()) as free:
        assert (await sent(free, lane=lane)).reason is Reason.FLOOD_CONTROL


async def test_a_document_may_be_paid_for_and_an_edit_may_not(sandbox: Sandbox) -> None:
    bot = make_bot(DEFAULT_TOKEN, sandbox.url, 8)
    file = Rendered((Document("a.txt", b"a", Text("a")),))
    async with Sender(bot, SystemClock(), pays_for_bulk=True) as paying:
        first = await sent(paying, file, lane=Lane.BULK)
        assert first.outcome is Outcome.SENT
        text = await sent(paying, lane=Lane.BULK)
        await sandbox.limits(enabled=True, bot_per_second=1, chat_burst=9, hold_seconds=0)
        assert (await sent(paying, file, lane=Lane.BULK)).outcome is Outcome.SENT
        assert (await sent(paying, file, lane=Lane.BULK)).outcome is Outcome.SENT
        edited = await sent(paying, Rendered((Text("later"),)), lane=Lane.BULK, edits=text.message_id)
        assert edited.reason is Reason.FLOOD_CONTROL


async def test_a_deletion_without_its_target_calls_nothing(sandbox: Sandbox, sender: Sender) -> None:
    wanted = Rendered((), deletes=(5,))
    refused = await sent(sender, wanted, origin=Origin.DELETION)
    assert (refused.outcome, refused.reason) == (NOT_SENT, Reason.CANNOT_DELETE)
    assert "deleteMessage" not in str(await sandbox.log())


@pytest.mark.parametrize("body", ["[]", "{}", '{"deletes": []}', '{"deletes": ["5"]}', '{"deletes": 5}'])
def test_a_deletion_of_nothing_is_no_deletion(body: str) -> None:
    with pytest.raises(ValueError, match="names no messages"):
        deletion.rendered(claimed(body=body, origin=Origin.DELETION))
