"""Methods, called by an unmodified python-telegram-bot; errors have Telegram's texts."""

from typing import Any

import pytest
from telegram import (
    Bot,
    BotCommand,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    MessageEntity,
    ReplyParameters,
)
from telegram.error import BadRequest, ChatMigrated, Forbidden, InvalidToken

from tests.telegram_sandbox.conftest import ADA, CI_TOPIC, GRACE, OPERATIONS, TEAM, SandboxServer, soon

LINK = {"type": "text_link", "offset": 0, "length": 1}
APPROVE = InlineKeyboardMarkup([[InlineKeyboardButton("Approve", callback_data="yes")]])


async def test_get_me_returns_the_bot(bot: Bot) -> None:
    me = await bot.get_me()
    assert (me.id, me.is_bot, me.username) == (1000000001, True, "sandbox_1000000001_bot")


async def test_send_message_is_answered_as_by_telegram(bot: Bot) -> None:
    message = await bot.send_message(ADA, "<b>Build</b> done", parse_mode="HTML", reply_markup=APPROVE)
    assert (message.text, message.chat.id, message.chat.first_name) == ("Build done", ADA, "Ada")
    assert message.from_user is not None
    assert message.from_user.id == bot.id
    assert message.entities == (MessageEntity("bold", 0, 5),)
    assert message.reply_markup == APPROVE
    assert message.date.timestamp() == 1_800_000_000


async def test_message_ids_grow_and_private_chats_share_them(bot: Bot) -> None:
    first, second = await bot.send_message(ADA, "1"), await bot.send_message(GRACE, "2")
    assert second.message_id == first.message_id + 1


async def test_entities_are_accepted_instead_of_markup(bot: Bot) -> None:
    message = await bot.send_message(ADA, "😀 bold", entities=[MessageEntity("bold", 3, 4)])
    assert message.parse_entity(message.entities[0]) == "bold"


async def test_a_mention_names_the_person(bot: Bot) -> None:
    message = await bot.send_message(ADA, f"[you](tg://user?id={GRACE})", parse_mode="MarkdownV2")
    assert message.entities[0].user is not None
    assert message.entities[0].user.first_name == "Grace"


async def test_a_reply_shows_what_it_answers(bot: Bot) -> None:
    first = await bot.send_message(ADA, "question")
    reply = await bot.send_message(ADA, "answer", reply_parameters=ReplyParameters(first.message_id))
    assert reply.reply_to_message is not None
    assert reply.reply_to_message.text == "question"


async def test_a_reply_to_a_missing_message_is_refused_unless_it_may_be_sent_without(bot: Bot) -> None:
    with pytest.raises(BadRequest, match="Message to be replied not found"):
        await bot.send_message(ADA, "x", reply_parameters=ReplyParameters(5))
    alone = ReplyParameters(5, allow_sending_without_reply=True)
    assert (await bot.send_message(ADA, "x", reply_parameters=alone)).reply_to_message is None


async def test_a_topic_needs_its_id_but_general_must_not_be_named(bot: Bot) -> None:
    message = await bot.send_message(OPERATIONS, "green", message_thread_id=CI_TOPIC)
    assert (message.message_thread_id, message.is_topic_message) == (CI_TOPIC, True)
    for wrong in (1, 99):
        with pytest.raises(BadRequest, match="Message thread not found"):
            await bot.send_message(OPERATIONS, "x", message_thread_id=wrong)


async def test_a_closed_topic_refuses_messages(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/chats/{OPERATIONS}/topics/{CI_TOPIC}", {"name": "CI", "closed": True}, verb="PUT")
    with pytest.raises(BadRequest, match=r"(?i)TOPIC_CLOSED"):
        await bot.send_message(OPERATIONS, "x", message_thread_id=CI_TOPIC)


async def test_a_document_is_stored_and_can_be_downloaded(server: SandboxServer, bot: Bot) -> None:
    sent = await bot.send_document(
        ADA, b"line\n" * 10, filename="büild log.txt", caption="*the* log", parse_mode="MarkdownV2"
    )
    assert sent.document is not None
    assert (sent.document.file_name, sent.document.file_size) == ("büild log.txt", 50)
    assert sent.caption == "the log"
    file = await bot.get_file(sent.document.file_id)
    assert bytes(await file.download_as_bytearray()) == b"line\n" * 10
    again = await bot.send_document(GRACE, sent.document.file_id)
    assert again.document == sent.document


async def test_a_file_id_belongs_to_its_bot(server: SandboxServer, bot: Bot) -> None:
    await server.control("/bots", {"token": "2000000002:another"})
    sent = await bot.send_document(ADA, b"x", filename="a.txt")
    assert sent.document is not None
    async with server.bot("2000000002:another") as other:
        with pytest.raises(BadRequest, match="Invalid file_id"):
            await other.get_file(sent.document.file_id)


async def test_an_empty_or_missing_document_is_refused(server: SandboxServer, bot: Bot) -> None:
    with pytest.raises(BadRequest, match="File must be non-empty"):
        await bot.send_document(ADA, b"", filename="a.txt")
    refused = await server.refusal("sendDocument", chat_id=ADA)
    assert refused == (400, "Bad Request: there is no document in the request")


async def test_an_edit_changes_the_text_and_removes_the_buttons(bot: Bot) -> None:
    message = await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    edited = await bot.edit_message_text("Deployed", ADA, message.message_id)
    assert not isinstance(edited, bool)
    assert (edited.text, edited.reply_markup, edited.message_id) == ("Deployed", None, message.message_id)
    assert edited.edit_date is not None


async def test_an_edit_that_changes_nothing_is_refused(bot: Bot) -> None:
    message = await bot.send_message(ADA, "same", reply_markup=APPROVE)
    with pytest.raises(
        BadRequest, match="Message is not modified: specified new message content and reply markup"
    ):
        await bot.edit_message_text("same", ADA, message.message_id, reply_markup=APPROVE)
    with pytest.raises(BadRequest, match="Message is not modified"):
        await bot.edit_message_reply_markup(ADA, message.message_id, reply_markup=APPROVE)


async def test_buttons_can_be_edited_without_the_text(bot: Bot) -> None:
    message = await bot.send_message(ADA, "x", reply_markup=APPROVE)
    edited = await bot.edit_message_reply_markup(ADA, message.message_id)
    assert not isinstance(edited, bool)
    assert (edited.text, edited.reply_markup) == ("x", None)


async def test_a_document_s_caption_can_be_edited_but_has_no_text(bot: Bot) -> None:
    message = await bot.send_document(ADA, b"x", filename="a.txt")
    edited = await bot.edit_message_caption(ADA, message.message_id, caption="new")
    assert not isinstance(edited, bool)
    assert edited.caption == "new"
    with pytest.raises(BadRequest, match="There is no text in the message to edit"):
        await bot.edit_message_text("x", ADA, message.message_id)


async def test_a_missing_or_foreign_message_cannot_be_edited(server: SandboxServer, bot: Bot) -> None:
    said = await server.control(f"/chats/{ADA}/say", {"text": "mine"})
    with pytest.raises(BadRequest, match="Message can't be edited"):
        await bot.edit_message_text("x", ADA, said["message_id"])
    with pytest.raises(BadRequest, match="Message to edit not found"):
        await bot.edit_message_text("x", ADA, 5)


async def test_a_deleted_message_is_gone(server: SandboxServer, bot: Bot) -> None:
    message = await bot.send_message(ADA, "x")
    assert await bot.delete_message(ADA, message.message_id)
    with pytest.raises(BadRequest, match="Message to delete not found"):
        await bot.delete_message(ADA, message.message_id)
    assert (await server.get(f"/api/chats/{ADA}/messages"))["messages"] == []


async def test_a_message_cannot_be_deleted_after_two_days(server: SandboxServer, bot: Bot) -> None:
    message = await bot.send_message(ADA, "x")
    await server.advance(48 * 3600 + 1)
    with pytest.raises(BadRequest, match="Message can't be deleted for everyone"):
        await bot.delete_message(ADA, message.message_id)


async def test_commands_are_stored_by_scope_and_language(bot: Bot) -> None:
    await bot.set_my_commands([BotCommand("status", "What is going on")])
    await bot.set_my_commands([BotCommand("status", "Was los ist")], language_code="de")
    assert [c.description for c in await bot.get_my_commands()] == ["What is going on"]
    assert [c.description for c in await bot.get_my_commands(language_code="de")] == ["Was los ist"]
    await bot.delete_my_commands()
    assert await bot.get_my_commands() == ()


async def test_get_chat_describes_the_chat(bot: Bot) -> None:
    chat = await bot.get_chat(OPERATIONS)
    assert (chat.type, chat.title, chat.is_forum) == ("supergroup", "Operations", True)


async def test_a_public_chat_has_a_username_that_names_it_and_a_person_s_does_not(
    server: SandboxServer, bot: Bot
) -> None:
    await server.control(
        "/chats", {"id": -1001000000009, "type": "channel", "title": "News", "username": "the_news"}
    )
    assert (await bot.get_chat("@The_News")).id == -1001000000009
    with pytest.raises(BadRequest, match="Chat not found"):
        await bot.get_chat("@ada")


async def test_a_chat_action_is_accepted(server: SandboxServer, bot: Bot) -> None:
    assert await bot.send_chat_action(ADA, "typing")
    assert (await server.log(method="sendChatAction"))[0]["action"] == "typing"


async def test_a_channel_post_is_sent_by_the_channel(server: SandboxServer, bot: Bot) -> None:
    await server.control("/chats", {"id": -1001000000009, "type": "channel", "title": "News"})
    post = await bot.send_message(-1001000000009, "x")
    assert post.sender_chat is not None
    assert (post.sender_chat.title, post.from_user) == ("News", None)


@pytest.mark.parametrize(
    ("fields", "description"),
    [
        ({}, "message text is empty"),
        ({"text": " \n "}, "text must be non-empty"),
        ({"text": "\u200b\ufeff\u2800"}, "text must be non-empty"),
        ({"text": "\U000e0020"}, "text must be non-empty"),
        ({"text": "x" * 4097}, "message is too long"),
        ({"text": "x" * 32_769}, "text is too long"),
        (
            {"text": "<h1>x", "parse_mode": "HTML"},
            'can\'t parse entities: Unsupported start tag "h1" at byte offset 0',
        ),
        (
            {"text": "a.b", "parse_mode": "MarkdownV2"},
            "can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'",
        ),
        ({"text": "x", "parse_mode": "BBCode"}, "unsupported parse_mode"),
        (
            {"text": "x", "entities": [{"type": "bold"}]},
            "can't parse MessageEntity: Can't find field \"offset\"",
        ),
        (
            {"text": "x", "entities": [LINK | {"url": "http://jenkins:8080/job/7"}]},
            "entity URL 'http://jenkins:8080/job/7' is invalid: Wrong HTTP URL",
        ),
        (
            {"text": "x", "entities": [LINK | {"url": "https://h.example:port/"}]},
            "entity URL 'https://h.example:port/' is invalid: Wrong port number specified in the URL",
        ),
        ({"text": "x", "entities": [LINK | {"type": "text_mention", "user": {"id": 0}}]}, "user not found"),
        (
            {"text": "x", "entities": [{"type": "bold", "offset": 0, "length": 2}]},
            "entity beginning at UTF-16 offset 0 ends after the end of the text at UTF-16 offset 2",
        ),
        ({"text": "x", "link_preview_options": "{"}, "can't parse link preview options JSON object"),
        ({"text": "x", "link_preview_options": []}, "object expected as link preview options"),
        (
            {"text": "x", "link_preview_options": {"is_disabled": 1}},
            'field "is_disabled" must be of type Boolean',
        ),
        ({"text": "x", "reply_parameters": "{"}, "can't parse reply parameters JSON object"),
        ({"text": "x", "reply_parameters": [5]}, "object expected as reply parameters"),
        ({"text": "x", "reply_parameters": {"quote": "x"}}, 'can\'t find field "message_id"'),
        ({"text": "x", "reply_parameters": {"message_id": "x"}}, 'field "message_id" must be a valid Number'),
        (
            {"text": "x", "reply_parameters": {"message_id": 5, "allow_sending_without_reply": "yes"}},
            'field "allow_sending_without_reply" must be of type Boolean',
        ),
        ({"text": "x", "chat_id": ""}, "chat_id is empty"),
        ({"text": "x", "chat_id": 5}, "chat not found"),
        ({"text": "x", "chat_id": "@nobody"}, "chat not found"),
        ({"text": "x", "chat_id": "abc"}, "chat not found"),
        ({"text": "x", "chat_id": f" {ADA}"}, "chat not found"),
        ({"text": "x", "chat_id": "1_001"}, "chat not found"),
        ({"text": "x", "chat_id": "@ada"}, "chat not found"),
        ({"text": "x", "reply_markup": "{"}, "can't parse reply keyboard markup JSON object"),
        ({"text": "x", "reply_markup": "[]"}, "object expected as reply markup"),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "é" * 33}]]}},
            "BUTTON_DATA_INVALID",
        ),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "url": "nope"}]]}},
            "inline keyboard button URL 'nope' is invalid: Wrong HTTP URL",
        ),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "b"}] * 9]}},
            "reply markup is too long",
        ),
        (
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "b"}]] * 101}},
            "reply markup is too long",
        ),
    ],
)
async def test_an_invalid_message_is_refused_with_telegram_s_text(
    server: SandboxServer, fields: dict[str, Any], description: str
) -> None:
    assert await server.refusal("sendMessage", **({"chat_id": ADA} | fields)) == (
        400,
        f"Bad Request: {description}",
    )


async def test_the_limit_is_4096_code_points_after_parsing(server: SandboxServer) -> None:
    text = "<b>" + "😀" * 4096 + "</b>"
    message = await server.result("sendMessage", chat_id=ADA, text=text, parse_mode="HTML")
    assert message["entities"] == [{"type": "bold", "offset": 0, "length": 8192}]


async def test_a_caption_may_have_1024_code_points(server: SandboxServer, bot: Bot) -> None:
    assert (await bot.send_document(ADA, b"x", caption="😀" * 1024)).caption == "😀" * 1024
    with pytest.raises(BadRequest, match="Message caption is too long"):
        await bot.send_document(ADA, b"x", caption="x" * 1025)


@pytest.mark.parametrize(
    ("change", "chat_id", "status", "description"),
    [
        ("block", ADA, 403, "Forbidden: bot was blocked by the user"),
        ("deactivate", ADA, 403, "Forbidden: user is deactivated"),
        ("kick", TEAM, 403, "Forbidden: bot was kicked from the group chat"),
        ("kick", OPERATIONS, 403, "Forbidden: bot was kicked from the supergroup chat"),
        ("leave", TEAM, 403, "Forbidden: bot is not a member of the group chat"),
        ("delete", TEAM, 403, "Forbidden: the group chat was deleted"),
        ("restrict", TEAM, 400, "Bad Request: not enough rights to send text messages to the chat"),
    ],
)
async def test_a_chat_that_the_bot_may_not_write_to_returns_the_reason(
    server: SandboxServer, change: str, chat_id: int, status: int, description: str
) -> None:
    await server.control(f"/chats/{chat_id}/{change}")
    assert await server.refusal("sendMessage", chat_id=chat_id, text="x") == (status, description)


async def test_a_person_who_never_started_the_bot_cannot_be_written_to(
    server: SandboxServer, bot: Bot
) -> None:
    await server.control("/chats", {"id": 5005, "started": False})
    with pytest.raises(Forbidden, match=r"(?i)bot can.t initiate conversation with a user"):
        await bot.send_message(5005, "x")
    await server.control("/chats/5005/say", {"text": "/start"})
    await bot.send_message(5005, "welcome")


async def test_an_upgraded_group_names_its_new_id(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/chats/{TEAM}/upgrade", {"new_id": -1001000002001}, verb="PUT")
    with pytest.raises(ChatMigrated) as migrated:
        await bot.send_message(TEAM, "x")
    assert migrated.value.new_chat_id == -1001000002001
    await bot.send_message(-1001000002001, "x")


async def test_a_wrong_token_is_unauthorized_and_a_malformed_one_not_found(
    server: SandboxServer, bot: Bot
) -> None:
    assert (await server.call("getMe", token="999:wrong"))["description"] == "Unauthorized"
    assert (await server.call("getMe", token="nonsense"))["description"] == "Not Found"
    await server.control(f"/bots/{bot.id}/revoke")
    with pytest.raises(InvalidToken):
        await bot.get_me()
    await server.control(f"/bots/{bot.id}/restore")
    await bot.get_me()


async def test_a_frozen_bot_can_read_but_not_send(server: SandboxServer, bot: Bot) -> None:
    await server.control(f"/bots/{bot.id}/freeze")
    await bot.get_me()
    with pytest.raises(BadRequest, match=r"(?i)FROZEN_METHOD_INVALID"):
        await bot.send_message(ADA, "x")
    await server.control(f"/bots/{bot.id}/unfreeze")
    await bot.send_message(ADA, "x")


async def test_an_unknown_method_is_not_found(server: SandboxServer) -> None:
    assert await server.refusal("sendTelepathy") == (404, "Not Found: method not found")


async def test_method_names_ignore_case_and_accept_get_query_and_form(server: SandboxServer) -> None:
    base = f"{server.url}/bot1000000001:sandbox-token-for-local-use-only"
    async with server.http.get(f"{base}/SENDMESSAGE?chat_id={ADA}&text=a%20%2B%20b") as answer:
        assert (await answer.json())["result"]["text"] == "a + b"
    async with server.http.post(f"{base}/sendmessage?chat_id={ADA}", data={"text": "ünï & =x"}) as answer:
        assert (await answer.json())["result"]["text"] == "ünï & =x"


@pytest.mark.parametrize(("content_type", "body"), [("application/json", b"{"), ("application/json", b"[]")])
async def test_a_body_that_contradicts_its_content_type_is_a_bad_request(
    server: SandboxServer, content_type: str, body: bytes
) -> None:
    url = f"{server.url}/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
    async with server.http.post(url, data=body, headers={"Content-Type": content_type}) as answer:
        assert answer.status == 400
        assert (await answer.json())[
            "description"
        ] == "Bad Request: can't parse request: expected a JSON object"


async def test_a_form_that_is_not_utf_8_is_a_bad_request(server: SandboxServer) -> None:
    url = f"{server.url}/bot1000000001:sandbox-token-for-local-use-only/sendMessage"
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    async with server.http.post(url, data=b"chat_id=1001&text=%FF%FE", headers=headers) as answer:
        assert (await answer.json())["description"] == "Bad Request: strings must be encoded in UTF-8"


async def test_a_tap_is_answered_with_a_toast(server: SandboxServer, bot: Bot) -> None:
    message = await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    await server.control(f"/chats/{ADA}/messages/{message.message_id}/tap", {"text": "Approve"})
    (update,) = await soon(bot.get_updates(timeout=5))
    query = update.callback_query
    assert query is not None
    assert (query.data, query.from_user.id) == ("yes", ADA)
    assert query.message is not None
    assert query.message.message_id == message.message_id
    assert await query.answer("Thank you")
    (shown,) = (await server.get(f"/api/chats/{ADA}/messages"))["messages"]
    assert shown["toast"] == "Thank you"


async def test_an_answer_to_an_expired_or_unknown_tap_is_refused(server: SandboxServer, bot: Bot) -> None:
    late = "query is too old and response timeout expired or query ID is invalid"
    with pytest.raises(BadRequest, match=f"(?i){late}"):
        await bot.answer_callback_query("12345")
    message = await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    tap = await server.control(f"/chats/{ADA}/messages/{message.message_id}/tap", {"data": "yes"})
    await server.advance(151)
    with pytest.raises(BadRequest, match=f"(?i){late}"):
        await bot.answer_callback_query(tap["callback_query_id"])


async def test_a_toast_longer_than_200_characters_is_refused(server: SandboxServer, bot: Bot) -> None:
    message = await bot.send_message(ADA, "Deploy?", reply_markup=APPROVE)
    tap = await server.control(f"/chats/{ADA}/messages/{message.message_id}/tap", {"data": "yes"})
    with pytest.raises(BadRequest, match=r"(?i)MESSAGE_TOO_LONG"):
        await bot.answer_callback_query(tap["callback_query_id"], "x" * 201)
