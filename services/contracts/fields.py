"""Field types, enums and helpers that the models share."""

import math
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)


def about(description: str, *examples: object) -> Any:
    """Returns a field with a description and examples for the OpenAPI document."""
    return Field(description=description, examples=list(examples) or None)


#: Examples that many fields share.
AN_ID = "01a1fd93-7b93-7466-ba5b-6bba60135904"
A_TRACE = "0af7651916cd43dd8448eb211c80319c"
A_TIME = "2026-01-31T08:00:00Z"


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


# PostgreSQL cannot store NUL in a text.
NO_NUL = r"^[^\x00]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
#: The text of a search, or an id in a path.
Words = Annotated[str, StringConstraints(max_length=200, pattern=NO_NUL)]
ShortText = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=2**53)]
# Telegram's ids have at most 52 significant bits; those of groups and channels are negative.
ChatId = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
ThreadId = Annotated[int, Field(ge=1, le=2**31 - 1)]
BotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
CorrelationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")]
Percent = Annotated[float, Field(ge=0, le=100)]

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _written(value: object) -> object:
    """Refuses numbers: pydantic would read one as seconds, or as milliseconds if it is large."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("write a time as text, RFC 3339, such as 2026-01-31T08:00:00Z")


#: RFC 3339 with a zone, up to nanoseconds; digits beyond microseconds are cut off.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_written), WithJsonSchema({"type": "string", "format": "date-time"})
]


def _finite(value: Any) -> Any:
    """Refuses NaN, infinities and integers over 64 bits, which Python's JSON reader accepts."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("an integer has more than 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inner)
    return value


#: Any JSON object.
Details = Annotated[dict[str, Any], AfterValidator(_finite)]


class Strict(BaseModel):
    """A model that refuses unknown fields, so that a misspelt one is reported instead of lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
