"""Parses the duration of a command. Pure."""

import re

LONGEST_MUTE_SECONDS = 366 * 86_400.0
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)?", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


def parse_duration(text: str) -> float | None:
    """Seconds of ``30m``, ``2h``, ``1d``, ``90s``, or a number of minutes; None if invalid or too long."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * _UNITS[(found[2] or "m").lower()]
    return float(seconds) if 0 < seconds <= LONGEST_MUTE_SECONDS else None
