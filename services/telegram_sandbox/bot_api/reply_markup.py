"""Reply markup (keyboards): parsed as by the Bot API server, checked as by TDLib and Telegram.

Sources: Client.cpp, `get_reply_markup`, `get_inline_keyboard_button`; ReplyMarkup.cpp, `get_reply_markup`.
Codes in capitals are Telegram's own; TDLib hands them on.
"""

from typing import Any

import orjson

from services.telegram_sandbox import errors, json_fields
from services.telegram_sandbox.json_fields import FieldError
from services.telegram_sandbox.markup import characters, links

Markup = dict[str, Any]

DATA_BYTES = 64
BUTTONS = 100
ROW_BUTTONS = 8
MARKUP_BYTES = 10_240  # not published; Telegram answers "reply markup is too long" at about this size
STYLES = ("", "default", "primary", "danger", "success")
#: Kinds of buttons beside `url` and `callback_data`, in the order in which the server looks for them.
FLAGS = ("callback_game", "pay")
QUERIES = ("switch_inline_query", "switch_inline_query_current_chat")
OBJECTS = ("switch_inline_query_chosen_chat", "login_url", "web_app", "copy_text")
REQUIRED = {"login_url": "url", "web_app": "url", "copy_text": "text"}


def parse(raw: Any) -> Markup | None:
    """Parses the reply markup of a request; None if it has none, or no buttons.

    Raises:
        BotApiError: it is invalid; with the Bot API server's text.
    """
    if raw in (None, "", b""):
        return None
    markup = _decoded(raw)
    try:
        rows, inline = json_fields.items(markup, "keyboard"), json_fields.items(markup, "inline_keyboard")
        removes, replies = (json_fields.boolean(markup, name) for name in ("remove_keyboard", "force_reply"))
    except FieldError as error:
        raise errors.bad_request(str(error)) from None
    if rows:
        return markup | {"keyboard": [[_reply_button(one) for one in _row(row)] for row in rows]}
    if inline:
        return {
            "inline_keyboard": [[_inline_button(one) for one in _row(row, inline=True)] for row in inline]
        }
    return markup if removes or replies else None


def check(markup: Markup | None, *, inline_only: bool = False) -> Markup | None:
    """Returns the reply markup without empty buttons and rows; None if none is left.

    Raises:
        BotApiError: TDLib or Telegram refuses it; with their text.
    """
    if markup is None or "inline_keyboard" not in markup:
        if markup is not None and inline_only:
            raise errors.bad_request("Inline keyboard expected")
        return markup
    rows = [
        [_checked(button) for button in row if button["text"] or button.get("icon_custom_emoji_id")]
        for row in markup["inline_keyboard"]
    ]
    return {"inline_keyboard": shown} if (shown := [row for row in rows if row]) else None


def check_size(markup: Markup | None) -> None:
    """Checks what Telegram itself checks, after TDLib: the size of data and of the whole markup.

    Raises:
        BotApiError: with Telegram's text.
    """
    rows = markup.get("inline_keyboard", []) if markup else []
    for button in (button for row in rows for button in row):
        if characters.is_empty(button["text"]):
            raise errors.bad_request("BUTTON_TEXT_INVALID")
        if len(button.get("callback_data", "").encode()) > DATA_BYTES:
            raise errors.bad_request("BUTTON_DATA_INVALID")
    too_many = sum(map(len, rows)) > BUTTONS or any(len(row) > ROW_BUTTONS for row in rows)
    if too_many or len(orjson.dumps(rows)) > MARKUP_BYTES:
        raise errors.bad_request("reply markup is too long")


def _decoded(raw: Any) -> dict[str, Any]:
    if isinstance(raw, str | bytes):
        try:
            raw = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise errors.bad_request("can't parse reply keyboard markup JSON object") from None
    if not isinstance(raw, dict):
        raise errors.bad_request("object expected as reply markup")
    return raw


def _row(row: Any, *, inline: bool = False) -> list[Any]:
    if not isinstance(row, list):
        where = 'Field "inline_keyboard" of the InlineKeyboardMarkup' if inline else 'Field "keyboard"'
        raise errors.bad_request(f"{where} must be an Array of Arrays")
    return row


def _reply_button(button: Any) -> Any:
    try:
        return _parsed_reply_button(button)
    except FieldError as error:
        raise errors.bad_request(f"Can't parse keyboard button: {error}") from None


def _parsed_reply_button(button: Any) -> Any:
    if isinstance(button, str):
        return button
    if not isinstance(button, dict):
        raise FieldError("KeyboardButton must be a String or an Object")
    return button | {"text": json_fields.text(button, "text")}


def _inline_button(button: Any) -> dict[str, Any]:
    try:
        return _parsed_inline_button(button)
    except FieldError as error:
        raise errors.bad_request(f"Can't parse inline keyboard button: {error}") from None


def _parsed_inline_button(button: Any) -> dict[str, Any]:
    """Returns the button with its text and the first kind of action that the server finds."""
    if not isinstance(button, dict):
        raise FieldError("InlineKeyboardButton must be an Object")
    shown: dict[str, Any] = {"text": json_fields.text(button, "text")}
    if icon := json_fields.integer(button, "icon_custom_emoji_id", 0, bits=64):
        shown["icon_custom_emoji_id"] = str(icon)
    if style := json_fields.text(button, "style", "").lower():
        shown["style"] = style
    if style not in STYLES:
        raise FieldError("invalid button style specified")
    return shown | _action(button)


def _action(button: dict[str, Any]) -> dict[str, Any]:
    for name in ("url", "callback_data"):
        if text := json_fields.text(button, name, ""):
            return {name: text}
    name = next((name for name in (*FLAGS, *QUERIES, *OBJECTS) if name in button), "")
    if name in OBJECTS:
        value = json_fields.fields(button, name)
        if name in REQUIRED:
            json_fields.text(value, REQUIRED[name])
        return {name: value}
    if not name:
        raise FieldError("Text buttons are unallowed in the inline keyboard")
    return {name: json_fields.text(button, name) if name in QUERIES else button[name]}


def _checked(button: dict[str, Any]) -> dict[str, Any]:
    text = characters.cleaned(button["text"])
    if not text:
        raise errors.bad_request("Inline keyboard button text must be non-empty")
    checked = button | {"text": text}
    if "url" in button and links.user_id(button["url"]) is None:
        checked["url"] = _url(button["url"], "")
    for name, words in (("login_url", "login"), ("web_app", "Web App")):
        if name in button:
            if links.user_id(button[name]["url"]) is not None:
                raise errors.bad_request(f"Link to a user can't be used in {words} URL buttons")
            checked[name] = button[name] | {"url": _url(button[name]["url"], f"{words} ", https_only=True)}
    return checked


def _url(url: str, words: str, *, https_only: bool = False) -> str:
    try:
        return links.check(url, http_only=https_only, https_only=https_only)
    except links.LinkError as error:
        raise errors.bad_request(f"Inline keyboard button {words}{error}") from None
