"""Times and durations as people write and read them. Pure."""

import re
from datetime import datetime, timedelta

from services.contracts.times import seconds_of

#: How a duration begins; a time begins with a date.
_DURATION = re.compile(r"P|\d{1,9}(\.\d+)?\s*[smhdw]")


def moment(text: str, now: datetime) -> datetime:
    """A time with a zone: ``2h`` ago, a date, or RFC 3339. Without a zone it is the zone of ``now``.

    Raises:
        ValueError: the text is none of them.
    """
    if _DURATION.match(text):
        return now - timedelta(seconds=seconds_of(text))
    return _written(text, now)


def later(text: str, now: datetime) -> datetime:
    """The same, for a time to come: ``2h`` from now."""
    if _DURATION.match(text):
        return now + timedelta(seconds=seconds_of(text))
    return _written(text, now)


def _written(text: str, now: datetime) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write a time such as 2h, 2026-01-31 or 2026-01-31T08:00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=now.tzinfo)


def local(timestamp: str | None, now: datetime) -> str:
    """A time of the API in the zone of ``now``: the time alone if it is today. Empty for None."""
    if timestamp is None:
        return ""
    there = datetime.fromisoformat(timestamp).astimezone(now.tzinfo)
    return there.strftime("%H:%M:%S" if there.date() == now.date() else "%Y-%m-%d %H:%M:%S")


def length(seconds_: float) -> str:
    """A duration in a few characters: ``12 ms``, ``1.2 s``, ``3 min``, ``2.5 h``, ``3 d``."""
    if seconds_ < 1:
        return f"{seconds_ * 1000:.0f} ms"
    for limit, unit, divisor in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds_ < limit:
            return f"{seconds_ / divisor:.3g} {unit}"
    return f"{seconds_ / 86_400:.3g} d"
