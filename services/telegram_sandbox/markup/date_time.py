"""Entities of type date_time (tg-time): times that each reader sees in their own time zone."""

import re
from typing import Any

from services.telegram_sandbox.markup.entity import MarkupError

FORMAT = re.compile(r"r|w?[dD]?[tT]?")
INT32 = 1 << 32


def date_time(unix: str, letters: str) -> dict[str, Any]:
    """Returns the extra fields of a date_time entity; empty if the time is invalid, which drops the entity.

    Raises:
        MarkupError: the format is neither `r` nor letters of `w`, `d|D`, `t|T` in this order.
    """
    moment = int(unix) % INT32 if unix.isascii() and unix.isdigit() else 0
    if not 0 < moment < INT32 // 2:
        return {}
    if not FORMAT.fullmatch(letters):
        raise MarkupError("Invalid date format used")
    return {"unix_time": moment, **({"date_time_format": letters} if letters else {})}
