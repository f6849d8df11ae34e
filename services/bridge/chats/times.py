"""Times as people read them in a chat: in the zone of the chat's settings, which each text names. Pure."""

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

#: The zone of a chat that has none, and of a text for several chats whose zones differ.
DEFAULT_ZONE = "UTC"


def date_and_time(seconds: float, zone: str = DEFAULT_ZONE) -> str:
    """1767225600 in ``Europe/Berlin`` → ``2026-01-01 01:00:00 CET``.

    Args:
        seconds: since the epoch.
        zone: IANA time zone; one that is not known here counts as UTC.
    """
    there = _at(seconds, zone)
    return f"{there:%Y-%m-%d %H:%M:%S} {_name(there)}"


def to_the_minute(seconds: float, zone: str = DEFAULT_ZONE) -> str:
    """As :func:`date_and_time`, without seconds: ``2026-01-01 01:00 CET``."""
    there = _at(seconds, zone)
    return f"{there:%Y-%m-%d %H:%M} {_name(there)}"


def time_of_day(seconds: float, zone: str = DEFAULT_ZONE) -> str:
    """As :func:`date_and_time`, without date and seconds: ``01:00 CET``."""
    there = _at(seconds, zone)
    return f"{there:%H:%M} {_name(there)}"


def _at(seconds: float, zone: str) -> datetime:
    moment = datetime.fromtimestamp(seconds, UTC)
    try:
        return moment.astimezone(zone_of(zone))
    except OverflowError:  # the last hours of the calendar
        return moment


def _name(moment: datetime) -> str:
    """The zone's abbreviation; where it has none, the offset: ``UTC+05:45``."""
    name = moment.tzname() or DEFAULT_ZONE
    digits = f"{moment:%z}"
    return name if name.isalpha() else f"{DEFAULT_ZONE}{digits[:3]}:{digits[3:5]}"


@lru_cache(maxsize=1_024)
def zone_of(name: str) -> ZoneInfo:
    """The time zone with this name; UTC where this machine has none."""
    try:
        return ZoneInfo(name)
    # An earlier version accepted zones that only one machine has.
    except (TypeError, ValueError, OSError, LookupError):
        return ZoneInfo(DEFAULT_ZONE)


def common(zones: set[str]) -> str:
    """The zone of a text that several chats show: theirs if they have one zone, else UTC."""
    return next(iter(zones)) if len(zones) == 1 else DEFAULT_ZONE
