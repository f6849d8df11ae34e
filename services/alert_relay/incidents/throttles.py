"""Throttles: between two notifications with a sound of one incident some time has to pass. Pure.

Within this time the incident's message is edited, and shows how many notifications were held back; a timer
then reports how the incident is, if it still fires. The first notification, a worse severity and the end of
what people know are never held back.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import re2

from services.alert_relay.incidents.severity import urgency_of
from services.contracts.times import seconds_of

MOST_THROTTLES = 100
LONGEST_PATTERN = 500
LONGEST_SECONDS = 7 * 86_400.0
#: A comma between two throttles, not one of a pattern such as ``a{1,2}``.
_SEPARATOR = re.compile(r",(?![^{]*\})")
#: A duration elsewhere is more than zero.
_NONE = re.compile(r"0+\s*[smhdw]?")
_SYNTAX = "write HighErrorRate|HighLatency=30m, Payment.*=0s"


@dataclass(frozen=True, slots=True)
class Throttle:
    """The time between two notifications with a sound of alerts.

    Args:
        pattern: of the names of alerts, a regular expression of RE2 that matches the whole name.
        seconds: 0: no time.
    """

    pattern: str
    seconds: float

    def matches(self, name: str) -> bool:
        return re2.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True, slots=True)
class LastSound:
    """The last notification with a sound of an incident.

    Args:
        at: seconds since the epoch.
        severity: of the incident then.
        resolved: whether it said that the incident is resolved.
        held_back: notifications that were held back since.
    """

    at: float
    severity: str
    resolved: bool
    held_back: int = 0


def parse(text: str) -> tuple[Throttle, ...]:
    """Reads throttles, such as ``HighErrorRate|HighLatency=30m, Payment.*=0s``.

    Raises:
        ValueError: the message names the part that is wrong.
    """
    parts = [part.strip() for part in _SEPARATOR.split(text) if part.strip()]
    if len(parts) > MOST_THROTTLES:
        raise ValueError(f"there are more than {MOST_THROTTLES} throttles")
    return tuple(_throttle(part) for part in parts)


def _throttle(part: str) -> Throttle:
    pattern, equals, length = (each.strip() for each in part.rpartition("="))
    if not equals or not pattern or len(pattern) > LONGEST_PATTERN:
        raise ValueError(f"{part[:100]!r} is no throttle: {_SYNTAX}")
    try:
        seconds = 0.0 if _NONE.fullmatch(length) else seconds_of(length)
    except ValueError:
        raise ValueError(f"{length[:100]!r} of {pattern[:100]!r} is no time: write 30m, 2h or 0s") from None
    if not 0 <= seconds <= LONGEST_SECONDS:
        raise ValueError(f"{length[:100]!r} of {pattern[:100]!r} is more than 7 days")
    try:
        re2.compile(pattern)
    except re2.error:
        raise ValueError(f"{pattern[:100]!r} is no regular expression: {_SYNTAX}") from None
    return Throttle(pattern, seconds)


def seconds_for(throttles: Sequence[Throttle], name: str) -> float:
    """Returns the time of the first throttle that matches the name of alerts; 0: none does."""
    return next((each.seconds for each in throttles if each.matches(name)), 0.0)


def is_held_back(
    last: LastSound | None, seconds: float, severity: str, *, resolved: bool, now: float
) -> bool:
    """Whether news of an incident make no sound.

    Args:
        last: the last notification with a sound; None: people have got none.
        seconds: of the throttle.
        severity: of the incident now.
        resolved: whether the news is that the incident is resolved.
        now: seconds since the epoch.
    """
    if last is None or not seconds:
        return False
    if resolved:
        # That it fired again was held back.
        return last.resolved
    if urgency_of(severity).order < urgency_of(last.severity).order:
        return False
    # A clock that was put back holds nothing back.
    return 0 <= now - last.at < seconds
