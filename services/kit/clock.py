"""The clock as an argument, so that tests set the time instead of waiting."""

import math
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    def time(self) -> float:
        """Seconds since the epoch, UTC. Jumps when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; never goes back. For durations only."""


class SystemClock:
    def time(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


#: The first and the last second of the calendar, as seconds since the epoch.
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0


def rfc3339(seconds: float) -> str:
    """1767225600.5 → ``2026-01-01T00:00:00.500Z``.

    It has a result for every stored value, so that none can fail a list: a time outside the calendar is the
    calendar's first or last second, and what is no number (SQLite stores any type) is the first.
    """
    value: object = seconds
    is_number = isinstance(value, int | float) and not math.isnan(value)
    within = min(max(seconds, _FIRST), _LAST) if is_number else _FIRST
    return datetime.fromtimestamp(within, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, the reverse of :func:`rfc3339`.

    Raises:
        ValueError: the text is not a time, or the time has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone: write it with Z or an offset")
    return moment.timestamp()
