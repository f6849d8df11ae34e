"""Text, caption and options of a message in a request, checked as by the Bot API server and TDLib."""

from typing import Any

import orjson

from services.telegram_sandbox import errors, json_fields, markup
from services.telegram_sandbox.bot_api.call import Call
from services.telegram_sandbox.json_fields import FieldError
from services.telegram_sandbox.markup import Formatted
from services.telegram_sandbox.state.chats import Chat, ChatType

TEXT_LIMIT = 4096  # code points after parsing
CAPTION_LIMIT = 1024  # code points after parsing
PREVIEW_FLAGS = ("is_disabled", "prefer_small_media", "prefer_large_media", "show_above_text")


def parsed_text(call: Call) -> Formatted:
    """Parses `text` and `link_preview_options`.

    Raises:
        BotApiError: one of them is invalid; with the Bot API server's text.
    """
    _check_preview(call)
    if not call.args.text("text"):
        raise errors.bad_request("message text is empty")
    return _parsed(call, "text", "entities")


def parsed_caption(call: Call) -> Formatted:
    """Parses `caption`.

    Raises:
        BotApiError: it is invalid; with the Bot API server's text.
    """
    return _parsed(call, "caption", "caption_entities")


def parsed_caption_of(item: dict[str, Any]) -> Formatted:
    """Parses the `caption` of an item of `media`.

    Raises:
        FieldError: it is invalid; with the Bot API server's text.
    """
    caption = json_fields.text(item, "caption", "")
    mode = json_fields.text(item, "parse_mode", "")
    try:
        return markup.parse(caption, mode, item.get("caption_entities"))
    except markup.MarkupError as error:
        raise FieldError(str(error)) from None


def text_fields(call: Call, parsed: Formatted, *, too_long: str = "message is too long") -> dict[str, Any]:
    """Returns the text and entities of the message.

    Raises:
        BotApiError: TDLib refuses them; with its text.
    """
    cleaned = _cleaned(parsed)
    if markup.is_empty(cleaned.text):
        raise errors.bad_request("text must be non-empty")
    if len(cleaned.text) > TEXT_LIMIT:
        raise errors.bad_request(too_long)
    return _fields(call, cleaned, "text", "entities")


def caption_fields(
    call: Call, parsed: Formatted, *, too_long: str = "message caption is too long"
) -> dict[str, Any]:
    """Returns the caption and its entities; nothing for a blank one.

    Raises:
        BotApiError: TDLib refuses them; with its text.
    """
    cleaned = _cleaned(parsed)
    if len(cleaned.text) > CAPTION_LIMIT:
        raise errors.bad_request(too_long)
    return _fields(call, cleaned, "caption", "caption_entities") if cleaned.text else {}


def reply_parameters(call: Call) -> tuple[int, bool]:
    """Returns the id of the message that is answered, 0 for none, and whether it may be missing.

    Raises:
        BotApiError: `reply_parameters` is invalid; with the Bot API server's text.
    """
    if "reply_parameters" not in call.args.values:
        return call.args.number("reply_to_message_id"), call.args.flag("allow_sending_without_reply")
    given = _object(call, "reply_parameters", "reply parameters")
    if not given:
        return 0, False
    try:
        json_fields.text(given, "chat_id", "")
        number = json_fields.integer(given, "message_id")
        return max(number, 0), json_fields.boolean(given, "allow_sending_without_reply")
    except FieldError as error:
        raise errors.bad_request(str(error)) from None


def preview_fields(call: Call) -> dict[str, Any]:
    """Returns the message's `link_preview_options`; nothing where none were given."""
    given = _object(call, "link_preview_options", "link preview options")
    shown = {name: given[name] for name in (*PREVIEW_FLAGS, "url") if given.get(name)}
    return {"link_preview_options": shown} if shown else {}


def _check_preview(call: Call) -> None:
    given = _object(call, "link_preview_options", "link preview options")
    try:
        for name in PREVIEW_FLAGS:
            json_fields.boolean(given, name)
        json_fields.text(given, "url", "")
    except FieldError as error:
        raise errors.bad_request(str(error)) from None


def _object(call: Call, name: str, words: str) -> dict[str, Any]:
    """Returns a parameter that is a JSON object; an empty one if it is absent."""
    raw = call.args.values.get(name)
    if raw in (None, ""):
        return {}
    try:
        value = orjson.loads(raw) if isinstance(raw, str) else raw
    except orjson.JSONDecodeError:
        raise errors.bad_request(f"can't parse {words} JSON object") from None
    if not isinstance(value, dict):
        raise errors.bad_request(f"object expected as {words}")
    return value


def _parsed(call: Call, name: str, entities: str) -> Formatted:
    try:
        return markup.parse(call.args.text(name), call.args.text("parse_mode"), call.args.data(entities))
    except markup.MarkupError as error:
        raise errors.bad_request(str(error)) from None


def _cleaned(parsed: Formatted) -> Formatted:
    try:
        return markup.clean(parsed)
    except markup.MarkupError as error:
        raise errors.bad_request(str(error)) from None


def _fields(call: Call, cleaned: Formatted, name: str, entities: str) -> dict[str, Any]:
    content: dict[str, Any] = {name: cleaned.text}
    if cleaned.entities:
        content[entities] = cleaned.wire(lambda number: _person(call.sandbox.chats.get(number)))
    return content


def _person(chat: Chat | None) -> dict[str, Any] | None:
    """Returns a person that the bot has a chat with; None drops the mention, as Telegram does."""
    return chat.user() if chat is not None and chat.type is ChatType.PRIVATE else None
