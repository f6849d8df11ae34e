"""The Bot API methods that send, edit and delete messages, and answer taps."""

from dataclasses import replace
from typing import Any

import orjson

from services.telegram_sandbox import errors
from services.telegram_sandbox.bot_api import content, reply_markup
from services.telegram_sandbox.bot_api.call import Call, Outcome, Result
from services.telegram_sandbox.bot_api.parameters import Upload
from services.telegram_sandbox.state import media
from services.telegram_sandbox.state.chats import Chat, ChatType, Message
from services.telegram_sandbox.state.files import StoredFile

TOAST_LIMIT = 200  # code points
UPLOAD_LIMIT = 50 << 20  # bytes
DOWNLOAD_LIMIT = 20 << 20  # bytes
DELETE_WINDOW = 48 * 3600.0  # seconds
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)


def send_message(call: Call) -> Outcome:
    parsed = content.parsed_text(call)
    reply = content.reply_parameters(call)
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, frame = target(call, "text messages", reply)
    keyboard = reply_markup.check(keyboard)
    fields = frame | content.text_fields(call, parsed) | content.preview_fields(call)
    reply_markup.check_size(keyboard)
    return call.rate_limited(chat, lambda: send(call, chat, fields, keyboard), may_pay=True)


def send_document(call: Call) -> Outcome:
    upload = _upload(call)
    parsed = content.parsed_caption(call)
    reply = content.reply_parameters(call)
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, frame = target(call, "documents", reply)
    keyboard = reply_markup.check(keyboard)
    document = {"document": describe(_stored(call, upload))}
    fields = frame | document | content.caption_fields(call, parsed)
    reply_markup.check_size(keyboard)
    return call.rate_limited(chat, lambda: send(call, chat, fields, keyboard), may_pay=True)


def edit_message_text(call: Call) -> Outcome:
    parsed = content.parsed_text(call)
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, message = _editable(call)
    if "text" not in message.wire:
        raise errors.bad_request("there is no text in the message to edit")
    keyboard = reply_markup.check(keyboard, inline_only=True)
    # Only Telegram itself checks the length of an edit; TDLib hands its code on.
    fields = content.text_fields(call, parsed, too_long="MESSAGE_TOO_LONG") | content.preview_fields(call)
    reply_markup.check_size(keyboard)
    return _edit(call, chat, message, fields | _markup(keyboard))


def edit_message_caption(call: Call) -> Outcome:
    parsed = content.parsed_caption(call)
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, message = _editable(call)
    if media.file_of(message.wire) is None:
        raise errors.bad_request("there is no caption in the message to edit")
    keyboard = reply_markup.check(keyboard, inline_only=True)
    caption = content.caption_fields(call, parsed, too_long="MEDIA_CAPTION_TOO_LONG")
    reply_markup.check_size(keyboard)
    files = {name: message.wire[name] for name in media.KINDS if name in message.wire}
    return _edit(call, chat, message, files | caption | _markup(keyboard))


def edit_message_reply_markup(call: Call) -> Outcome:
    keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
    chat, message = _editable(call)
    keyboard = reply_markup.check(keyboard, inline_only=True)
    reply_markup.check_size(keyboard)
    kept = {name: message.wire[name] for name in CONTENT[:-1] if name in message.wire}
    return _edit(call, chat, message, kept | _markup(keyboard))


def delete_message(call: Call) -> Outcome:
    chat = call.find_chat()
    chat.check_writable()
    message = chat.messages.get(call.args.number("message_id"))
    if message is None:
        raise errors.bad_request("message to delete not found")
    old = call.now - message.wire["date"] > DELETE_WINDOW
    if old or (message.bot_id != call.bot.id and chat.type is not ChatType.PRIVATE):
        raise errors.bad_request("message can't be deleted for everyone")
    call.log(status=200, deleted=True)
    del chat.messages[message.id]
    return True


def pin_chat_message(call: Call) -> Outcome:
    """Pins a message. Telegram also shows that in the chat; the sandbox marks the message."""
    chat = call.find_chat()
    message = chat.messages.get(call.args.number("message_id"))
    if message is None:
        raise errors.bad_request("message to pin not found")
    chat.check_writable()
    if chat.is_group and not chat.can_pin:
        raise errors.bad_request("not enough rights to manage pinned messages in the chat")
    message.pinned = True
    call.log(status=200, pinned=True)
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


CONTENT = (
    *("text", "entities", "link_preview_options", *media.KINDS, "caption", "caption_entities"),
    "reply_markup",
)


def describe(stored: StoredFile) -> dict[str, Any]:
    return {
        "file_name": stored.name,
        "mime_type": stored.mime,
        "file_id": stored.id,
        "file_unique_id": stored.unique_id,
        "file_size": stored.size,
    }


def _markup(keyboard: dict[str, Any] | None) -> dict[str, Any]:
    return {"reply_markup": keyboard} if keyboard and "inline_keyboard" in keyboard else {}


def target(call: Call, kind: str, reply: tuple[int, bool]) -> tuple[Chat, dict[str, Any]]:
    """Returns the chat to write to, and the message's fields for topic, reply and protection."""
    chat = call.find_chat()
    chat.check_writable(kind)
    thread_id = call.args.number("message_thread_id") or None
    chat.check_topic(thread_id)
    frame = _reply(chat, *reply)
    if thread_id is not None:
        frame |= {"message_thread_id": thread_id, "is_topic_message": True}
    if call.args.flag("protect_content"):
        frame["has_protected_content"] = True
    return chat, frame


def _reply(chat: Chat, number: int, may_be_missing: bool) -> dict[str, Any]:
    original = chat.messages.get(number)
    if original is not None:
        return {"reply_to_message": {k: v for k, v in original.wire.items() if k != "reply_to_message"}}
    if number and not may_be_missing:
        raise errors.bad_request("message to be replied not found")
    return {}


def send(call: Call, chat: Chat, fields: dict[str, Any], keyboard: dict[str, Any] | None) -> Result:
    """Puts a message of the bot into the chat."""
    now = call.now
    wire: dict[str, Any] = {"message_id": call.sandbox.chats.next_message_id(chat, now)}
    if chat.type is ChatType.CHANNEL:
        wire["sender_chat"] = chat.wire()
    else:
        wire["from"] = call.bot.user()
    wire |= {"chat": chat.wire(), "date": int(now), **fields, **_markup(keyboard)}
    return call.store(chat, Message(wire, call.bot.id, call.args.flag("disable_notification")))


def _upload(call: Call) -> Upload | str:
    """Returns the uploaded document, or the id or URL that the request names instead."""
    value = call.args.text("document")
    upload = call.args.files.get(value.removeprefix("attach://") if value else "document")
    if upload is None and (not value or value.startswith("attach://")):
        raise errors.bad_request("there is no document in the request")
    return upload or value


def _stored(call: Call, upload: Upload | str) -> StoredFile:
    if isinstance(upload, str):
        return known_document(call, upload)
    if not upload.data:
        raise errors.bad_request("file must be non-empty")
    if len(upload.data) > UPLOAD_LIMIT:
        raise errors.BotApiError(413, "Request Entity Too Large")
    mime = upload.mime or "application/octet-stream"
    return call.sandbox.files.add(call.bot.id, upload.name, mime, upload.data)


def known_document(call: Call, file_id: str) -> StoredFile:
    """The file of an id that Telegram gave to this bot.

    Raises:
        BotApiError: the id is another bot's, or none.
    """
    if file_id.startswith(("http://", "https://")):
        raise errors.bad_request("failed to get HTTP URL content")  # the sandbox fetches nothing
    stored = call.sandbox.files.get(call.bot.id, file_id)
    if stored is None:
        raise errors.bad_request("wrong remote file identifier specified: can't unserialize it")
    return stored


def _editable(call: Call) -> tuple[Chat, Message]:
    number = call.args.number("message_id")
    if not number and not call.args.text("chat_id"):
        raise errors.bad_request("message identifier is not specified")
    chat = call.find_chat()
    chat.check_writable()
    message = chat.messages.get(number)
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
