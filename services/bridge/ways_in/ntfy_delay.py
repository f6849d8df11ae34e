"""ntfy's delays: `30m`, `1h30m`, `2 days`, a Unix timestamp, or a time in RFC 3339. Pure."""

import re
from datetime import UTC, datetime

from services.bridge.ways_in.draft import Given, fault

_SECONDS = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0}
_UNITS = r"days?|d|hours?|h|minutes?|mins?|m|seconds?|secs?|s"
_PART = re.compile(rf"(\d{{1,9}}(?:\.\d{{1,3}})?)\s*({_UNITS})\s*", re.IGNORECASE)
_DURATION = re.compile(rf"(?:{_PART.pattern})+", re.IGNORECASE)
_TIMESTAMP = re.compile(r"\d{9,11}")
_ISO = re.compile(r"\d{4}-\d\d-\d\d[Tt ].*")


def deliver_at(given: Given, now: float) -> str:
    """When to deliver, RFC 3339.

    Args:
        given: the delay, as ntfy's clients write it.
        now: seconds since the epoch.

    Raises:
        Problem: 422, it cannot be read. ntfy reads some English too, such as "tomorrow, 10am".
    """
    text = str(given.value).strip()
    if _ISO.fullmatch(text):
        return text
    if _TIMESTAMP.fullmatch(text):
        seconds = float(text)
    elif _DURATION.fullmatch(text):
        seconds = now + sum(float(number) * _SECONDS[unit[0].lower()] for number, unit in _PART.findall(text))
    else:
        raise fault(given.place, "write a delay such as 30m, 2 hours or 1d, a Unix timestamp, or RFC 3339")
    try:
        return datetime.fromtimestamp(seconds, UTC).isoformat()
    except (OverflowError, ValueError):
        raise fault(given.place, "this time is outside the calendar") from None
