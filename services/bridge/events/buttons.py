"""Buttons of an event's messages: the keyboard of the Bot API, and what a tap names. Pure.

A button's data in Telegram is a reference of at most 64 bytes: the message's id and the button's number. The
client's own data stays with the event.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError

from services.contracts.buttons import Button, Buttons
from services.contracts.stored import json_of
from services.outbox.telegram.links import is_link

_PREFIX = "c"
_rows = TypeAdapter(Buttons)


def keyboard(rows: Sequence[Sequence[Button]], message_id: str) -> Mapping[str, Any] | None:
    """An inline keyboard of the Bot API; None without a button that Telegram takes.

    Args:
        rows: of the event.
        message_id: ID of the message that has the buttons.
    """
    numbers = iter(range(sum(map(len, rows))))
    shown = [
        [
            _wire(button, message_id, number)
            for button, number in ((button, next(numbers)) for button in row)
            if not _is_text(button)
        ]
        for row in rows
    ]
    full = [row for row in shown if row]
    return {"inline_keyboard": full} if full else None


def as_text(rows: Sequence[Sequence[Button]]) -> list[tuple[str, str]]:
    """Text and URL of the buttons whose URL Telegram does not take."""
    return [(button.text, button.url or "") for row in rows for button in row if _is_text(button)]


def _is_text(button: Button) -> bool:
    return button.url is not None and not is_link(button.url)


def _wire(button: Button, message_id: str, number: int) -> dict[str, Any]:
    if button.url is not None:
        return {"text": button.text, "url": button.url}
    return {"text": button.text, "callback_data": f"{_PREFIX}:{message_id}:{number}"}


def tapped(data: str) -> tuple[str, int] | None:
    """The message's id and the button's number in a tap's data; None if it is no button of an event."""
    prefix, _, rest = data.partition(":")
    message_id, _, number = rest.rpartition(":")
    if prefix != _PREFIX or not message_id or not (number.isascii() and number.isdecimal()):
        return None
    return message_id, int(number)


def find(body: str, number: int) -> Button | None:
    """The button of a stored event; None if it has no such button.

    Args:
        body: of the event, JSON.
        number: of the button, from 0, in the order of the rows.
    """
    event = json_of(body)
    try:
        rows = _rows.validate_python(event.get("buttons") or []) if isinstance(event, dict) else []
    except ValidationError:
        return None
    each = [button for row in rows for button in row]
    return each[number] if number < len(each) else None
