"""Fields of JSON objects in a request, as the Bot API server reads them (TDLib, JsonBuilder.cpp)."""

import re
from typing import Any

NUMBER = re.compile(r"0|-?[1-9][0-9]*")
REQUIRED = object()


class FieldError(Exception):
    """A field is missing or has the wrong type; the text is Telegram's."""


def integer(item: dict[str, Any], name: str, default: Any = REQUIRED, *, bits: int = 32) -> int:
    """Returns an integer of 32 or 64 bits; its text is one too.

    Raises:
        FieldError: it is none, or is missing without a default.
    """
    value = _field(item, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FieldError(f'Field "{name}" must be a Number')
    written = str(value)
    if not NUMBER.fullmatch(written) or not -(1 << (bits - 1)) <= int(written) < 1 << (bits - 1):
        raise FieldError(f'Field "{name}" must be a valid Number')
    return int(written)


def text(item: dict[str, Any], name: str, default: Any = REQUIRED) -> str:
    """Returns a text; a number is one too.

    Raises:
        FieldError: it is none, or is missing without a default.
    """
    value = _field(item, name, default)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise FieldError(f'Field "{name}" must be of type String')
    return str(value)


def boolean(item: dict[str, Any], name: str) -> bool:
    """Returns a truth value, False if it is missing.

    Raises:
        FieldError: it is none.
    """
    value = item.get(name, False)
    if not isinstance(value, bool):
        raise FieldError(f'Field "{name}" must be of type Boolean')
    return value


def items(item: dict[str, Any], name: str) -> list[Any] | None:
    """Returns an array, None if it is missing.

    Raises:
        FieldError: it is none.
    """
    value = item.get(name, [])
    if not isinstance(value, list):
        raise FieldError(f'Field "{name}" must be of type Array')
    return value if name in item else None


def fields(item: dict[str, Any], name: str) -> dict[str, Any]:
    """Returns an object.

    Raises:
        FieldError: it is none, or is missing.
    """
    value = _field(item, name, REQUIRED)
    if not isinstance(value, dict):
        raise FieldError(f'Field "{name}" must be of type Object')
    return value


def _field(item: dict[str, Any], name: str, default: Any) -> Any:
    value = item.get(name, default)
    if value is REQUIRED:
        raise FieldError(f'Can\'t find field "{name}"')
    return value
