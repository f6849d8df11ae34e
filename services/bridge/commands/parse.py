"""A text as a command. Pure."""

import re
from dataclasses import dataclass

LONGEST_MUTE = 366 * 86_400.0
_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]+))?(?:\s+(.*))?", re.DOTALL)
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)?", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    argument: str = ""
    to: str | None = None  #: the bot it names


def parse(text: str) -> Command | None:
    """The command that a text is, or None."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return None
    name, to, argument = found.groups()
    return Command(name.lower(), (argument or "").strip(), to)


def duration(text: str) -> float | None:
    """``30m``, ``2h``, ``1d``, ``90s``, or minutes alone, as seconds; None where it is none."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * _UNITS[(found[2] or "m").lower()]
    return float(seconds) if 0 < seconds <= LONGEST_MUTE else None
