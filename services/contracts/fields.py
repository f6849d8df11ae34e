"""What the contracts are built of: kinds of fields that more than one of them has."""

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
    """What the OpenAPI document says of a field: for people, with an example."""
    return Field(description=description, examples=list(examples))


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


# PostgreSQL keeps no NUL in a text, and nobody means one.
NO_NUL = r"^[^\x00]*$"
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_NUL)]
ShortText = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=2**53)]
# Telegram's ids have at most 52 significant bits; groups and channels are below zero.
ChatId = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
ThreadId = Annotated[int, Field(ge=1, le=2**31 - 1)]
BotName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
CorrelationId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,128}$")]
Percent = Annotated[float, Field(ge=0, le=100)]

_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _written(value: object) -> object:
    """A time is written as text: pydantic would take a number for seconds, a larger one for milliseconds."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("write a time as text, RFC 3339, such as 2026-01-31T08:00:00Z")


#: RFC 3339 with up to nanoseconds; what is finer than microseconds is cut off.
Moment = Annotated[
    AwareDatetime, BeforeValidator(_written), WithJsonSchema({"type": "string", "format": "date-time"})
]


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity, and programs no larger integers than these; Python reads them all."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("an integer has more than 64 bits")
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _finite(inner)
    return value


#: Anything that JSON can say.
Details = Annotated[dict[str, Any], AfterValidator(_finite)]


class Strict(BaseModel):
    """A misspelt field is an error that names it, not something silently lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
