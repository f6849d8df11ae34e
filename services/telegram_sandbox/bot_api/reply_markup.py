"""Checks reply markup (keyboards), with Telegram's limits and error texts."""

from typing import Any

import orjson

from services.telegram_sandbox import errors

DATA_BYTES = 64
BUTTONS = 100
ROW_BUTTONS = 8
MARKUP_BYTES = 10_240  # not published; Telegram answers "reply markup is too long" at about this size
URL_SCHEMES = ("http://", "https://", "tg://", "ton://")


def parse(raw: Any, *, inline_only: bool = False) -> dict[str, Any] | None:
    """Returns the checked reply markup of a request; None if there is none.

    Raises:
        BotApiError: it is invalid; with Telegram's text.
    """
    if raw in (None, "", b""):
        return None
    markup = _decoded(raw)
    if "inline_keyboard" in markup:
        return {"inline_keyboard": _inline(markup["inline_keyboard"])}
    if inline_only and markup:
        raise errors.bad_request("inline keyboard expected")
    known = ("keyboard", "remove_keyboard", "force_reply")
    return markup if any(name in markup for name in known) else None


def _decoded(raw: Any) -> dict[str, Any]:
    if isinstance(raw, str | bytes):
        try:
            raw = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise errors.bad_request("can't parse reply keyboard markup JSON object") from None
    if not isinstance(raw, dict):
        raise errors.bad_request("object expected as reply markup")
    return raw


def _inline(rows: Any) -> list[list[dict[str, Any]]]:
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise errors.bad_request(
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays'
        )
    checked = [[_button(button) for button in row] for row in rows if row]
    too_many = sum(len(row) for row in checked) > BUTTONS or any(len(row) > ROW_BUTTONS for row in checked)
    if too_many or len(orjson.dumps(checked)) > MARKUP_BYTES:
        raise errors.bad_request("reply markup is too long")
    return checked


def _button(button: Any) -> dict[str, Any]:
    if not isinstance(button, dict):
        raise errors.bad_request("can't parse inline keyboard button: expected an Object")
    text = button.get("text")
    if not isinstance(text, str):
        raise errors.bad_request("can't parse inline keyboard button: can't find field \"text\"")
    if not text:
        raise errors.bad_request("BUTTON_TEXT_INVALID")
    if "callback_data" in button:
        return button | {"callback_data": _data(button["callback_data"])}
    if "url" in button:
        return button | {"url": _url(button["url"])}
    others = ("web_app", "login_url", "switch_inline_query", "switch_inline_query_current_chat", "copy_text")
    if any(name in button for name in (*others, "switch_inline_query_chosen_chat", "callback_game", "pay")):
        return button
    raise errors.bad_request(
        "can't parse inline keyboard button: text buttons are unallowed in the inline keyboard"
    )


def _data(data: Any) -> str:
    if not isinstance(data, str) or not 1 <= len(data.encode("utf-8", "surrogatepass")) <= DATA_BYTES:
        raise errors.bad_request("BUTTON_DATA_INVALID")
    return data


def _url(url: Any) -> str:
    host = url.split("://", 1)[-1].split("/", 1)[0] if isinstance(url, str) else ""
    if not isinstance(url, str) or not url.lower().startswith(URL_SCHEMES) or not host:
        raise errors.bad_request("inline keyboard button URL " + repr(url) + " is invalid: wrong HTTP URL")
    return url
