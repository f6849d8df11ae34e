"""The Bot API methods that send photos, audio, video, animations, voice messages and albums."""

from typing import Any

import orjson
import uuid_utils

from services.telegram_sandbox import errors, json_fields
from services.telegram_sandbox.bot_api import content, message_methods, reply_markup
from services.telegram_sandbox.bot_api.call import Call, Method, Outcome, Result
from services.telegram_sandbox.bot_api.parameters import Upload
from services.telegram_sandbox.json_fields import FieldError
from services.telegram_sandbox.markup import Formatted
from services.telegram_sandbox.state import media
from services.telegram_sandbox.state.chats import Chat
from services.telegram_sandbox.state.files import StoredFile

MOST_IN_ALBUM = 10
#: Types of sendMediaGroup, and those of them that stand only beside their own.
ALBUM_TYPES = ("photo", "video", "audio", "document")
ALONE = ("audio", "document")


def _sender(kind: str) -> Method:
    """The method that sends one file of a kind."""

    def send(call: Call) -> Outcome:
        given = _given(call, kind)
        parsed = content.parsed_caption(call)
        reply = content.reply_parameters(call)
        keyboard = reply_markup.parse(call.args.values.get("reply_markup"))
        chat, frame = message_methods.target(call, _PLURAL[kind], reply)
        keyboard = reply_markup.check(keyboard)
        fields = frame | stored(call, kind, given) | content.caption_fields(call, parsed)
        if kind in _SPOILERS and call.args.flag("has_spoiler"):
            fields["has_media_spoiler"] = True
        reply_markup.check_size(keyboard)
        return call.rate_limited(
            chat, lambda: message_methods.send(call, chat, fields, keyboard), may_pay=True
        )

    return send


_PLURAL = {
    "photo": "photos",
    "audio": "audios",
    "video": "videos",
    "animation": "animations",
    "voice": "voice notes",
}
_SPOILERS = ("photo", "video", "animation")
METHODS: dict[str, Method] = {f"send{kind.capitalize()}": _sender(kind) for kind in _PLURAL}


def _given(call: Call, kind: str) -> Upload | str:
    """The upload, or the file id or URL that the request names instead."""
    value = call.args.text(kind)
    upload = call.args.files.get(value.removeprefix("attach://") if value else kind)
    if upload is None and (not value or value.startswith("attach://")):
        raise errors.bad_request(f"there is no {kind} in the request")
    return upload or value


def stored(call: Call, kind: str, given: Upload | str) -> dict[str, Any]:
    """The message's fields of a file, which is stored now or was before."""
    if isinstance(given, str):
        return media.fields(kind, _known(call, given), _pixels(call, given))
    if not given.data:
        raise errors.bad_request("file must be non-empty")
    if len(given.data) > message_methods.UPLOAD_LIMIT:
        raise errors.BotApiError(413, "Request Entity Too Large")
    pixels = media.pixels(given.data)
    if kind == "photo":
        _check_photo(given.data, pixels)
    name, mime = media.stored_as(kind, given.name, given.mime)
    return media.fields(kind, call.sandbox.files.add(call.bot.id, name, mime, given.data), pixels)


def _pixels(call: Call, file_id: str) -> tuple[int, int] | None:
    known = _known(call, file_id)
    return media.pixels(call.sandbox.files.read(call.bot.id, known.path))


def _known(call: Call, file_id: str) -> StoredFile:
    return message_methods.known_document(call, file_id)


def _check_photo(data: bytes, pixels: tuple[int, int] | None) -> None:
    """As TDLib (FileLoaderUtils.cpp) and then Telegram's servers refuse a photo."""
    if len(data) > media.LARGEST_PHOTO:
        most = f"the maximum size is {media.LARGEST_PHOTO} bytes"
        raise errors.bad_request(f"file of size {len(data)} bytes is too big for a photo; {most}")
    if pixels is None:
        raise errors.bad_request("IMAGE_PROCESS_FAILED")
    if not media.may_be_photo(*pixels):
        raise errors.bad_request("PHOTO_INVALID_DIMENSIONS")


def send_media_group(call: Call) -> Outcome:
    """Sends an album: one message for each file, with one id that joins them."""
    reply = content.reply_parameters(call)
    items = [_item(call, item) for item in _array(call)]
    chat, frame = message_methods.target(call, "photos", reply)
    if len(items) > MOST_IN_ALBUM:
        raise errors.bad_request("too many messages to send as an album")
    if not items:
        raise errors.bad_request("there are no messages to send")
    kinds = {kind for kind, *_ in items}
    for kind in ALONE:
        if kind in kinds and len(kinds) > 1:
            raise errors.bad_request(f"{kind} can't be mixed with other media types")
    messages = [_message_fields(call, number, *item) for number, item in enumerate(items, 1)]
    return call.rate_limited(chat, lambda: _send_all(call, chat, frame, messages), may_pay=True)


def _array(call: Call) -> list[Any]:
    raw = call.args.values.get("media")
    if raw in (None, ""):
        raise errors.bad_request('parameter "media" is required')
    try:
        given = orjson.loads(raw) if isinstance(raw, str) else raw
    except orjson.JSONDecodeError:
        raise errors.bad_request("can't parse media JSON object") from None
    if not isinstance(given, list):
        raise errors.bad_request("expected an Array of InputMedia")
    return given


def _item(call: Call, item: Any) -> tuple[str, Upload | str, Formatted, bool]:
    try:
        return _parsed_item(call, item)
    except FieldError as error:
        raise errors.bad_request(f"Can't parse InputMedia: {error}") from None


def _parsed_item(call: Call, item: Any) -> tuple[str, Upload | str, Formatted, bool]:
    if not isinstance(item, dict):
        raise FieldError("expected an Object")
    caption = content.parsed_caption_of(item)
    spoiler = json_fields.boolean(item, "has_spoiler")
    kind = json_fields.text(item, "type")
    value = json_fields.text(item, "media", "")
    given = call.args.files.get(value.removeprefix("attach://")) if value.startswith("attach://") else value
    if not given:
        raise FieldError("media not found")
    if kind == "animation":
        raise FieldError('type "animation" can\'t be used in sendMediaGroup')
    if kind not in ALBUM_TYPES:
        raise FieldError(f'type "{kind}" is unsupported')
    return kind, given, caption, spoiler


def _message_fields(  # noqa: PLR0917 - the parts of one item
    call: Call, number: int, kind: str, given: Upload | str, caption: Formatted, spoiler: bool
) -> dict[str, Any]:
    shown = content.caption_fields(call, caption)
    try:
        fields = stored(call, kind, given) | shown
    except errors.BotApiError as error:
        if error.status != 400:  # noqa: PLR2004 - only refusals of a file are reported so
            raise
        text = error.description.removeprefix("Bad Request: ")
        cause = text if text.isupper() else text[:1].upper() + text[1:]
        raise errors.bad_request(
            f'Failed to send message #{number} with the error message "{cause}"'
        ) from None
    return fields | ({"has_media_spoiler": True} if spoiler and kind in _SPOILERS else {})


def _send_all(call: Call, chat: Chat, frame: dict[str, Any], messages: list[dict[str, Any]]) -> Result:
    # Telegram joins two messages and more; a single one is a plain message.
    group = {"media_group_id": str(uuid_utils.uuid7().int % 10**17)} if len(messages) > 1 else {}
    return [message_methods.send(call, chat, frame | group | fields, None) for fields in messages]
