"""The clock as an argument, so that tests set the time instead of waiting."""

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


def rfc3339(seconds: float) -> str:
    """1767225600.5 → ``2026-01-01T00:00:00.500Z``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def from_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time, the reverse of :func:`rfc3339`.

    Raises:
        ValueError: the text is not a time, or the time has no zone.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no zone: write it with Z or an offset")
    return moment.timestamp()
