"""Times as clients write them: a moment, or a duration from the acceptance of the request."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer, PlainValidator, TypeAdapter, ValidationError
from pydantic import WithJsonSchema as Schema

from services.contracts.fields import BEGINS_AS_DATE, LONGEST_TIME, Moment, NoBool
from services.kit.field_errors import message

#: A duration has at most so many seconds: 366 days.
LONGEST_SECONDS = 366 * 86_400.0
_UNITS = {"s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_NUMBER = r"(\d{1,9}(?:\.\d{1,6})?)"
_PART = re.compile(rf"{_NUMBER}\s*([smhdw])\s*", re.ASCII)
_ISO_PARTS = (("W", "w"), ("D", "d"), ("H", "h"), ("M", "m"), ("S", "s"))
_ISO = re.compile(
    rf"P(?=.)(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?=.)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.ASCII,
)
_FORMS = "a duration such as 90s, 30m, 2h, 1d, 1h30m or PT30M"


def seconds_of(text: str) -> float:
    """The seconds of a duration: ``90s``, ``30m``, ``2h``, ``1d``, ``1w``, ``1h30m``, ISO 8601's ``PT30M``.

    Raises:
        ValueError: it has none of these forms, is zero, or has more than 366 days.
    """
    written = text.strip()
    total = _iso(written) if written.startswith("P") else _plain(written)
    if total is None:
        raise ValueError(f"write {_FORMS}")
    if not 0 < total <= LONGEST_SECONDS:
        raise ValueError("a duration is more than 0 and at most 366 days")
    return total


def _plain(written: str) -> float | None:
    parts = _PART.findall(written)
    if not parts or len(written) > LONGEST_TIME or _PART.sub("", written):
        return None
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _iso(written: str) -> float | None:
    found = _ISO.fullmatch(written)
    if found is None:
        return None
    pairs = zip(found.groups(), _ISO_PARTS, strict=True)
    return sum(float(number) * _UNITS[unit] for number, (_, unit) in pairs if number is not None)


_moment: TypeAdapter[datetime] = TypeAdapter(Moment)


def _when(value: object) -> datetime | timedelta:
    if isinstance(value, timedelta):
        if not 0 < value.total_seconds() <= LONGEST_SECONDS:
            raise ValueError("a duration is more than 0 and at most 366 days")
        return value
    if isinstance(value, str) and not BEGINS_AS_DATE.match(value):
        try:
            return timedelta(seconds=seconds_of(value))
        except ValueError as error:
            raise ValueError(f"{error}, or a time such as 2026-01-31T08:00:00Z") from None
    try:
        return _moment.validate_python(value)
    except ValidationError as error:
        raise ValueError(message(error.errors(include_url=False)[0])) from None


def _written(value: datetime | timedelta) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return f"PT{value.total_seconds():.6f}".rstrip("0").rstrip(".") + "S"


def _seconds(value: object) -> object:
    return seconds_of(value) if isinstance(value, str) else value


_DURATION_SCHEMA = {"type": "string", "pattern": rf"^[0-9A-Za-z. ]{{2,{LONGEST_TIME}}}$", "examples": ["30m"]}
#: A moment (RFC 3339), or a duration from the acceptance of the request; `at` makes a time of it.
When = Annotated[
    datetime | timedelta,
    PlainValidator(_when),
    PlainSerializer(_written, return_type=str),
    Schema({"anyOf": [{"type": "string", "format": "date-time"}, _DURATION_SCHEMA]}),
]


def lifetime(shortest: float, longest: float) -> tuple[object, ...]:
    """Metadata of a float: seconds between two bounds, or a duration as text."""
    number = {"type": "number", "minimum": shortest, "maximum": longest}
    return (
        Field(ge=shortest, le=longest),
        NoBool,
        BeforeValidator(_seconds),
        Schema({"anyOf": [number, _DURATION_SCHEMA]}),
    )


def at(value: datetime | timedelta, now: float) -> float:
    """Seconds since the epoch; a duration counts from ``now``."""
    return now + value.total_seconds() if isinstance(value, timedelta) else value.timestamp()
