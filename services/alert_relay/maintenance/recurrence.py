"""When a recurring window is active: an RRULE (RFC 5545) in a time zone. Pure.

The occurrences begin at the same time of the wall clock, summer and winter. One whose time the clock skips
begins as much later as the clock is put forward; one whose time comes twice begins the first time. Each lasts
equally long, measured in seconds.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from dateutil import rrule

LONGEST_RULE = 300
#: An occurrence is looked for in this time; a rule may have none at all, such as on 30 February.
HORIZON = timedelta(days=5 * 366)
LARGEST_INTERVAL = 1_000
#: The parts of a rule by its frequency. The library follows a rule without occurrences to the year 9999: a
#: daily one with the parts of a monthly one would take it seconds.
_COMMON = frozenset({"FREQ", "INTERVAL", "UNTIL", "BYDAY", "BYMONTH", "WKST"})
_PARTS = {
    "DAILY": _COMMON,
    "WEEKLY": _COMMON,
    "MONTHLY": _COMMON | {"BYMONTHDAY", "BYSETPOS"},
    "YEARLY": _COMMON | {"BYMONTHDAY", "BYSETPOS", "BYYEARDAY", "BYWEEKNO"},
}


def first(rule: str, zone: str, starts_at: float, after: float) -> float:
    """Returns when the first occurrence begins, seconds since the epoch.

    Args:
        rule: RRULE, with or without its name, such as ``FREQ=WEEKLY;BYDAY=SU``.
        zone: name of a time zone.
        starts_at: when it may begin, seconds since the epoch.
        after: it begins after this time, seconds since the epoch.

    Raises:
        ValueError: the rule is wrong, or has no occurrence within :data:`HORIZON`.
    """
    found = next(occurrences(rule, zone, starts_at, after), None)
    if found is None:
        raise ValueError(f"{rule} has no occurrence in the next five years")
    return found


def check_zone(zone: str) -> str:
    """Returns the name of a zone.

    Raises:
        ValueError: there is no such zone.
    """
    if zone not in available_timezones():
        raise ValueError(f"{zone[:100]!r} is no time zone: write a name such as Europe/Berlin or UTC")
    return zone


def occurrences(rule: str, zone: str, starts_at: float, after: float) -> Iterator[float]:
    """Yields the beginnings after a time, seconds since the epoch.

    Args:
        rule: RRULE.
        zone: name of a time zone.
        starts_at: when the first one may begin, seconds since the epoch; it has the time of day of all.
        after: seconds since the epoch.

    Raises:
        ValueError: the rule or the zone is wrong.
    """
    there = ZoneInfo(check_zone(zone))
    # The library knows whole seconds.
    starts_at = math.floor(starts_at)
    first = datetime.fromtimestamp(starts_at, there).replace(tzinfo=None)
    from_ = datetime.fromtimestamp(max(after, starts_at), there).replace(tzinfo=None)
    read, until = _parsed(rule, zone, first)
    # Without an end the library would follow a rule that has no occurrence to the year 9999.
    bounded = read.replace(until=min(filter(None, (until, from_ + HORIZON))))
    # A day earlier: the wall clock may be put back in between.
    for local in bounded.xafter(from_ - timedelta(days=1), inc=True):
        begins = local.replace(tzinfo=there).astimezone(UTC).timestamp()
        if begins > after and begins >= starts_at:
            yield begins


@lru_cache(maxsize=200)
def _parsed(rule: str, zone: str, first: datetime) -> tuple[rrule.rrule, datetime | None]:
    """Returns a rule without its end, and its end by the wall clock."""
    text = rule.strip().upper().removeprefix("RRULE:")
    if len(text) > LONGEST_RULE:
        raise ValueError(f"a rule has up to {LONGEST_RULE} characters")
    parts = dict(_part(part) for part in text.split(";"))
    allowed = _PARTS.get(parts.get("FREQ", ""))
    if allowed is None:
        raise ValueError(f"FREQ is one of {', '.join(_PARTS)}: write FREQ=WEEKLY;BYDAY=SU")
    for name in parts.keys() - allowed:
        raise ValueError(f"{parts['FREQ']} has no {name[:40]!r} here, but {', '.join(sorted(allowed))}")
    interval = parts.get("INTERVAL", "1")
    if not (interval.isascii() and interval.isdigit() and 1 <= int(interval) <= LARGEST_INTERVAL):
        raise ValueError(f"INTERVAL is a number from 1 to {LARGEST_INTERVAL}")
    end = parts.pop("UNTIL", None)
    try:
        read = rrule.rrulestr(";".join("=".join(part) for part in parts.items()), dtstart=first)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError(f"{text!r} is no RRULE: {error}") from None
    if not isinstance(read, rrule.rrule):
        raise ValueError("write one rule")  # noqa: TRY004 - of a text
    return read, None if end is None else _local_end(end, zone)


def _part(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not equals or not value:
        raise ValueError(f"{part[:40]!r} is no part of a rule: write FREQ=WEEKLY;BYDAY=SU")
    return name, value


def _local_end(value: str, zone: str) -> datetime:
    """Returns the end of a rule by the wall clock; RFC 5545 has it in UTC, with a Z."""
    for form in ("%Y%m%d", "%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"):
        try:
            found = datetime.strptime(value, form)  # noqa: DTZ007 - of a wall clock
        except ValueError:
            continue
        if form.endswith("Z"):
            # The years at both ends of the calendar have no time in some zones.
            inside = min(max(found, datetime(1970, 1, 2)), datetime(9999, 12, 30))  # noqa: DTZ001 - as above
            return inside.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        return found if "T" in value else found + timedelta(days=1, microseconds=-1)
    raise ValueError("UNTIL is a date or a time: 20261231 or 20261231T220000Z")
