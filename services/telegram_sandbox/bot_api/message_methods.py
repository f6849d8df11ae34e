"""The Bot API methods that send, edit and delete messages, and answer taps."""

from dataclasses import replace
from typing import Any

import orjson

from services.telegram_sandbox import errors, markup
from services.telegram_sandbox.bot_api import reply_markup
from services.telegram_sandbox.bot_api.call import Call, Outcome, Result
from services.telegram_sandbox.markup import Formatted
from services.telegram_sandbox.state.chats import Chat, ChatType, Message
from services.telegram_sandbox.state.files import StoredFile

TEXT_LIMIT = 4096  # code points after parsing
CAPTION_LIMIT = 1024  # code points after parsing
TOAST_LIMIT = 200  # code points
UPLOAD_LIMIT = 50 << 20  # bytes
DOWNLOAD_LIMIT = 20 << 20  # bytes
DELETE_WINDOW = 48 * 3600.0  # seconds
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)


def send_message(call: Call) -> Outcome:
    if not call.args.text("text"):
        raise errors.bad_request("message text is empty")
    parsed = _parsed(call, "text", "entities")
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, frame = _target(call, "text messages")
    content = _content(
        call, parsed, "text", TEXT_LIMIT, "message is too long", empty="text must be non-empty"
    )
    return call.rate_limited(chat, lambda: _send(call, chat, frame | content, keyboard), may_pay=True)


def send_document(call: Call) -> Outcome:
    parsed = _parsed(call, "caption", "caption_entities")
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, frame = _target(call, "documents")
    caption = _content(call, parsed, "caption", CAPTION_LIMIT, "message caption is too long")
    document = {"document": describe(_document(call))}
    fields = frame | document | caption
    return call.rate_limited(chat, lambda: _send(call, chat, fields, keyboard), may_pay=True)


def edit_message_text(call: Call) -> Outcome:
    if not call.args.text("text"):
        raise errors.bad_request("message text is empty")
    parsed = _parsed(call, "text", "entities")
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"), inline_only=True)
    chat, message = _editable(call)
    if "text" not in message.wire:
        raise errors.bad_request("there is no text in the message to edit")
    content = _content(
        call, parsed, "text", TEXT_LIMIT, "message is too long", empty="text must be non-empty"
    )
    return _edit(call, chat, message, content | _markup(keyboard))


def edit_message_caption(call: Call) -> Outcome:
    parsed = _parsed(call, "caption", "caption_entities")
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"), inline_only=True)
    chat, message = _editable(call)
    if "document" not in message.wire:
        raise errors.bad_request("there is no caption in the message to edit")
    caption = _content(call, parsed, "caption", CAPTION_LIMIT, "message caption is too long")
    return _edit(call, chat, message, {"document": message.wire["document"]} | caption | _markup(keyboard))


def edit_message_reply_markup(call: Call) -> Outcome:
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"), inline_only=True)
    chat, message = _editable(call)
    kept = {name: message.wire[name] for name in CONTENT[:-1] if name in message.wire}
    return _edit(call, chat, message, kept | _markup(keyboard))


def delete_message(call: Call) -> Outcome:
    chat = call.find_chat()
    message = chat.messages.get(_message_id(call))
    if message is None:
        raise errors.bad_request("message to delete not found")
    old = call.now - message.wire["date"] > DELETE_WINDOW
    if old or (message.bot_id != call.bot.id and chat.type is not ChatType.PRIVATE):
        raise errors.bad_request("message can't be deleted for everyone")
    call.log(status=200, deleted=True)
    del chat.messages[message.id]
    return True


def answer_callback_query(call: Call) -> Outcome:
    """Shows a toast for a tap. Telegram publishes no time limit; here it is the tap's lifetime."""
    text = call.args.text("text")
    tap = call.sandbox.taps.get(call.args.text("callback_query_id"))
    if tap is None or tap.bot_id != call.bot.id or tap.expires <= call.now:
        raise errors.bad_request("query is too old and response timeout expired or query ID is invalid")
    if len(text) > TOAST_LIMIT:
        raise errors.bad_request("MESSAGE_TOO_LONG")
    call.chat = call.sandbox.chats.get(tap.chat_id)
    call.log(status=200)
    message = call.chat.messages.get(tap.message_id) if call.chat else None
    if message is not None:
        message.toast = text
        call.sandbox.record(
            "toast",
            chat_id=tap.chat_id,
            message_id=tap.message_id,
            query_id=call.args.text("callback_query_id"),
            text=text,
            show_alert=call.args.flag("show_alert"),
        )
    return True


CONTENT = ("text", "entities", "document", "caption", "caption_entities", "reply_markup")


def describe(stored: StoredFile) -> dict[str, Any]:
    return {
        "file_name": stored.name,
        "mime_type": stored.mime,
        "file_id": stored.id,
        "file_unique_id": stored.unique_id,
        "file_size": stored.size,
    }


def _parsed(call: Call, name: str, entities: str) -> Formatted:
    try:
        return markup.parse(call.args.text(name), call.args.text("parse_mode"), call.args.data(entities))
    except markup.MarkupError as error:
        raise errors.bad_request(str(error)) from None


def _content(
    call: Call, parsed: Formatted, name: str, limit: int, too_long: str, *, empty: str | None = None
) -> dict[str, Any]:
    """Returns the text and entities of the message, checked against Telegram's limit."""
    try:
        cleaned = markup.clean(parsed)
    except markup.MarkupError as error:
        raise errors.bad_request(str(error)) from None
    if not cleaned.text:
        if empty is not None:
            raise errors.bad_request(empty)
        return {}
    if len(cleaned.text) > limit:
        raise errors.bad_request(too_long)
    content: dict[str, Any] = {name: cleaned.text}
    if cleaned.entities:
        content["entities" if name == "text" else "caption_entities"] = cleaned.wire(
            lambda number: _person(call, number)
        )
    return content


def _person(call: Call, number: int) -> dict[str, Any] | None:
    """Returns a person that the bot may mention; None if it has no chat with them."""
    chat = call.sandbox.chats.get(number)
    return chat.user() if chat is not None and chat.type is ChatType.PRIVATE else None


def _markup(keyboard: dict[str, Any] | None) -> dict[str, Any]:
    return {"reply_markup": keyboard} if keyboard and keyboard.get("inline_keyboard") else {}


def _target(call: Call, kind: str) -> tuple[Chat, dict[str, Any]]:
    """Returns the chat to write to, and the message's fields for topic, reply and protection."""
    chat = call.find_chat()
    chat.check_writable(kind)
    thread_id = call.args.number("message_thread_id") or None
    chat.check_topic(thread_id)
    frame = _reply(call, chat)
    if thread_id is not None:
        frame |= {"message_thread_id": thread_id, "is_topic_message": True}
    if call.args.flag("protect_content"):
        frame["has_protected_content"] = True
    return chat, frame


def _reply(call: Call, chat: Chat) -> dict[str, Any]:
    parameters = call.args.data("reply_parameters")
    reply = parameters if isinstance(parameters, dict) else {}
    number = reply.get("message_id") or call.args.number("reply_to_message_id")
    if not number:
        return {}
    original = chat.messages.get(int(number))
    if original is not None:
        return {"reply_to_message": {k: v for k, v in original.wire.items() if k != "reply_to_message"}}
    if reply.get("allow_sending_without_reply") or call.args.flag("allow_sending_without_reply"):
        return {}
    raise errors.bad_request("message to be replied not found")


def _send(call: Call, chat: Chat, fields: dict[str, Any], keyboard: dict[str, Any] | None) -> Result:
    now = call.now
    wire: dict[str, Any] = {"message_id": call.sandbox.chats.next_message_id(chat, now)}
    if chat.type is ChatType.CHANNEL:
        wire["sender_chat"] = chat.wire()
    else:
        wire["from"] = call.bot.user()
    wire |= {"chat": chat.wire(), "date": int(now), **fields, **_markup(keyboard)}
    return call.store(chat, Message(wire, call.bot.id, call.args.flag("disable_notification")))


def _document(call: Call) -> StoredFile:
    value = call.args.text("document")
    upload = call.args.files.get(value.removeprefix("attach://") if value else "document")
    if upload is None:
        return _known_document(call, value)
    if not upload.data:
        raise errors.bad_request("file must be non-empty")
    if len(upload.data) > UPLOAD_LIMIT:
        raise errors.BotApiError(413, "Request Entity Too Large")
    mime = upload.mime or "application/octet-stream"
    return call.sandbox.files.add(call.bot.id, upload.name, mime, upload.data)


def _known_document(call: Call, file_id: str) -> StoredFile:
    if not file_id:
        raise errors.bad_request("there is no document in the request")
    if file_id.startswith(("http://", "https://")):
        raise errors.bad_request("failed to get HTTP URL content")  # the sandbox fetches nothing
    stored = call.sandbox.files.get(call.bot.id, file_id)
    if stored is None:
        raise errors.bad_request("wrong remote file identifier specified: can't unserialize it")
    return stored


def _message_id(call: Call) -> int:
    number = call.args.number("message_id")
    if not number:
        raise errors.bad_request("message identifier is not specified")
    return number


def _editable(call: Call) -> tuple[Chat, Message]:
    chat = call.find_chat()
    chat.check_writable()
    message = chat.messages.get(_message_id(call))
    if message is None:
        raise errors.bad_request("message to edit not found")
    if message.bot_id != call.bot.id:
        raise errors.bad_request("message can't be edited")
    return chat, message


def _edit(call: Call, chat: Chat, message: Message, content: dict[str, Any]) -> Outcome:
    """Replaces the content of a message; fields that are not in `content` are removed."""

    def finish() -> Result:
        frame = {name: value for name, value in message.wire.items() if name not in CONTENT}
        wire = frame | content | {"edit_date": int(call.now)}
        return call.store(chat, replace(message, wire=wire))

    if _same(content, message.wire):
        raise errors.bad_request(NOT_MODIFIED)
    return call.rate_limited(chat, finish)


def _same(content: dict[str, Any], wire: dict[str, Any]) -> bool:
    before = {name: wire[name] for name in CONTENT if name in wire}
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        before, option=orjson.OPT_SORT_KEYS
    )
