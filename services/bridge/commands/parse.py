"""Parses a text into a command. Pure."""

import re
from dataclasses import dataclass

LONGEST_MUTE_SECONDS = 366 * 86_400.0
_COMMAND = re.compile(r"/([A-Za-z0-9_]{1,32})(?:@([A-Za-z0-9_]+))?(?:\s+(.*))?", re.DOTALL)
_DURATION = re.compile(r"(\d{1,6})\s*(s|m|min|h|d)?", re.IGNORECASE)
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``/name@to argument``."""

    name: str
    argument: str = ""
    to: str | None = None  #: username of the bot that it names


def parse_command(text: str) -> Command | None:
    """The command in a text; None if the text is not a command."""
    found = _COMMAND.fullmatch(text.strip())
    if found is None:
        return None
    name, to, argument = found.groups()
    return Command(name.lower(), (argument or "").strip(), to)


def parse_duration(text: str) -> float | None:
    """Seconds of ``30m``, ``2h``, ``1d``, ``90s``, or a number of minutes; None if invalid or too long."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    seconds = int(found[1]) * _UNITS[(found[2] or "m").lower()]
    return float(seconds) if 0 < seconds <= LONGEST_MUTE_SECONDS else None
