"""When the weekly digest is due: a day and a time of the wall clock of a zone. Pure."""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"\s*([a-z]{3})\s+([01]\d|2[0-3]):([0-5]\d)(?:\s+(\S+))?\s*", re.IGNORECASE)
_WEEK = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class DigestTime:
    """A time of each week.

    Args:
        weekday: 0 for Monday.
        hour: of the wall clock.
        minute: of the wall clock.
        zone: name of a time zone.
    """

    weekday: int
    hour: int
    minute: int
    zone: str

    def last(self, now: float) -> tuple[float, float]:
        """Returns the beginning and the end of the last whole week, seconds since the epoch.

        Args:
            now: seconds since the epoch.
        """
        there = ZoneInfo(self.zone)
        local = datetime.fromtimestamp(now, there).replace(tzinfo=None)
        until = local.replace(hour=self.hour, minute=self.minute, second=0, microsecond=0)
        until -= timedelta(days=(local.weekday() - self.weekday) % len(_DAYS))
        if until.replace(tzinfo=there).timestamp() > now:
            until -= _WEEK
        begin = (until - _WEEK).replace(tzinfo=there)
        return begin.timestamp(), until.replace(tzinfo=there).timestamp()


def parse(text: str) -> DigestTime | None:
    """Reads a time such as ``mon 09:00 Europe/Berlin``; None: the text is empty.

    Raises:
        ValueError: it is none; the message says what to write.
    """
    if not text.strip():
        return None
    found = _FORM.fullmatch(text)
    if found is None or found[1].lower() not in _DAYS:
        raise ValueError("write a day and a time, such as mon 09:00 Europe/Berlin")
    zone = found[4] or "UTC"
    if zone not in available_timezones():
        raise ValueError(f"{zone[:100]!r} is no time zone: write a name such as Europe/Berlin or UTC")
    return DigestTime(_DAYS.index(found[1].lower()), int(found[2]), int(found[3]), zone)
