"""Field types, enums and helpers that the models share."""

import math
import re
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

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
from pydantic_core import to_json

from services.kit.field_errors import NO_NUL, ErrorText


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


class Format(StrEnum):
    """How a description is read."""

    PLAIN = "plain"
    MARKDOWN = "markdown"
    HTML = "html"


class Priority(StrEnum):
    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"
    URGENT = "urgent"


#: The largest integer that every JSON reader keeps: some read numbers as doubles.
LARGEST_INT = 2**53
#: A token as BotFather gives it: the bot's number, a colon, and a secret part.
TOKEN_FORM = re.compile(r"[0-9]{1,20}:[A-Za-z0-9_-]{1,255}")


def storable(longest: int, shortest: int = 0) -> StringConstraints:
    """A text that both databases can store, with so many characters."""
    return StringConstraints(min_length=shortest, max_length=longest, pattern=NO_NUL)


#: Characters that Telegram removes or treats as empty before it checks that a text is not empty (TDLib,
#: clean_input_string and strip_empty_characters).
_INVISIBLE = frozenset(
    (
        *range(0x20),
        *range(0x2028, 0x202F),
        *(0x030A, 0x0333, 0x033F),
        *range(0x200B, 0x2010),
        *range(0x2060, 0x2070),
        *(0x180E, 0x2800, 0xFEFF, 0xFFFC),
        *range(0xE0000, 0xE0080),
    )
)


def is_blank(text: str) -> bool:
    """Whether Telegram would refuse the text as empty."""
    return all(ord(character) in _INVISIBLE or character.isspace() for character in text)


#: Select the picture of the character before, and are not seen themselves.
_VARIATIONS = frozenset(range(0xFE00, 0xFE10))


def plain_name(name: str) -> str:
    """A name as it is compared: case, spaces, width, composition and what is not seen make no difference."""
    seen = "".join(
        character
        for character in unicodedata.normalize("NFKC", name)
        if unicodedata.category(character) != "Cf" and ord(character) not in _VARIATIONS
    )
    # Folding may decompose what was composed.
    return " ".join(unicodedata.normalize("NFKC", seen.casefold()).split())


def _seen(text: str) -> str:
    if is_blank(text):
        raise ValueError("it has no visible character")
    return text


#: Refuses a text without a visible character.
Visible = AfterValidator(_seen)


def _number(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("write a number, not true or false")  # noqa: TRY004 - pydantic reports ValueErrors
    return value


#: Refuses true and false, which pydantic would read as 1 and 0.
NoBool = BeforeValidator(_number)


def _chat(chat_id: int) -> int:
    if chat_id == 0:
        raise ValueError("no chat has the id 0")
    return chat_id


def _indexed(url: str) -> str:
    # PostgreSQL indexes at most 2,704 bytes.
    if len(url.encode()) > LONGEST_URL:
        raise ValueError(
            f"a URL has at most {LONGEST_URL} bytes; write other than ASCII characters as %-escapes"
        )
    return url


#: Refuses the id 0.
ChatExists = AfterValidator(_chat)

Line = Annotated[str, storable(200, 1), Visible]
#: The text of a search, or an id in a path.
Words = Annotated[str, storable(200)]
LONGEST_URL = 2_048
Url = Annotated[str, storable(LONGEST_URL, 1), AfterValidator(_indexed)]
# Texts of an event's `data` may have NUL: they are stored as JSON, and shown without it.
ShortText = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=LARGEST_INT), NoBool]
Number = Annotated[float, Field(ge=-1e300, le=1e300), NoBool]
# Telegram's ids have at most 52 significant bits; those of groups and channels are negative.
ChatId = Annotated[int, Field(strict=True, ge=-LARGEST_INT, le=LARGEST_INT), ChatExists]
NUMBER_OF_CHAT = re.compile(r"-?[0-9]{1,20}")
USERNAME_OF_CHAT = re.compile(r"@[A-Za-z][A-Za-z0-9_]{1,31}")
LONGEST_CHAT_NAME = 128


def read_chat(value: object) -> object:
    """The id that a text is, or the text without spaces around it."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    return int(text) if NUMBER_OF_CHAT.fullmatch(text) else text


def _chat_name(name: str) -> str:
    if name.startswith("@") and not USERNAME_OF_CHAT.fullmatch(name):
        raise ValueError("a username has 2 to 32 letters, digits and _ after the @")
    return name


#: A chat as clients name it: its id, also as text, ``@username``, or the name that its settings give it.
ChatReference = Annotated[
    ChatId | Annotated[str, storable(LONGEST_CHAT_NAME, 1), Visible, AfterValidator(_chat_name)],
    BeforeValidator(
        read_chat, json_schema_input_type=ChatId | Annotated[str, storable(LONGEST_CHAT_NAME, 1)]
    ),
]
ThreadId = Annotated[int, Field(ge=1, le=2**31 - 1), NoBool]
BotName = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$"),
    ErrorText("write up to 32 small letters, digits, - and _; a letter or digit first"),
]
CorrelationId = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9._:/-]{1,128}$"),
    ErrorText("write 1 to 128 letters, digits and ._:/-"),
]
#: True or false; pydantic would also read "yes", "off", 1 and 0.0 as one of them.
Flag = Annotated[bool, Field(strict=True)]
Percent = Annotated[float, Field(ge=0, le=100), NoBool]

LONGEST_TIME = 64
BEGINS_AS_DATE = re.compile(r"\d{4}-\d\d-\d\d[Tt ]")


def _written(value: object) -> object:
    """Refuses numbers: pydantic would read one as seconds, or as milliseconds if it is large."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, str) and len(value) <= LONGEST_TIME and BEGINS_AS_DATE.match(value):
        return value
    raise ValueError("write a time as text, RFC 3339, such as 2026-01-31T08:00:00Z")


def _on_calendar(moment: datetime) -> datetime:
    """Refuses the few hours at both ends of the calendar that have no date in UTC."""
    try:
        moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("this time is outside the calendar") from None
    return moment


#: RFC 3339 with a zone; digits beyond microseconds are cut off. It may have no date in UTC.
AnyMoment = Annotated[
    AwareDatetime, BeforeValidator(_written), WithJsonSchema({"type": "string", "format": "date-time"})
]
#: The same, with a date in UTC.
Moment = Annotated[AnyMoment, AfterValidator(_on_calendar)]


#: Bytes of a JSON object as compact text, and levels of objects and lists in it.
LARGEST_DETAILS = 65_536
DEEPEST_DETAILS = 16


def _small(value: dict[str, Any]) -> dict[str, Any]:
    _check(value, 1)
    # A lone surrogate, which Python's JSON reader accepts, is a ValueError here.
    if len(to_json(value)) > LARGEST_DETAILS:
        raise ValueError(f"the object has more than {LARGEST_DETAILS} bytes as JSON")
    return value


def _check(value: Any, depth: int) -> None:
    """Refuses NaN, infinities and integers over 64 bits, which Python's JSON reader accepts, and depth."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is not finite")
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("an integer has more than 64 bits")
    if isinstance(value, dict | list):
        if depth > DEEPEST_DETAILS:
            raise ValueError(f"the object has more than {DEEPEST_DETAILS} levels")
        for inner in value.values() if isinstance(value, dict) else value:
            _check(inner, depth + 1)


#: Any JSON object, bounded in size and depth.
Details = Annotated[
    dict[str, Any],
    AfterValidator(_small),
    WithJsonSchema(
        {
            "type": "object",
            "additionalProperties": True,
            "x-max-bytes": LARGEST_DETAILS,
            "x-max-depth": DEEPEST_DETAILS,
        }
    ),
]


class Strict(BaseModel):
    """A model that refuses unknown fields, so that a misspelt one is reported instead of lost."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


#: A page's URL.
WebUrl = Annotated[
    Url,
    StringConstraints(pattern=r"^[hH][tT][tT][pP][sS]?://"),
    ErrorText("write a URL of up to 2048 bytes that begins with https:// or http://"),
]


class LinkPreview(Strict):
    """The preview of a link below or above a message's text."""

    show: Annotated[Flag, about("false: no preview", True)] = True
    url: Annotated[
        WebUrl | None,
        about("the page that is shown; default: the first link of the text", "https://ci.example/7"),
    ] = None
    size: Annotated[
        Literal["small", "large"] | None, about("of its picture; default: Telegram's", "large")
    ] = None
    above_text: Annotated[Flag, about("show it above the text", False)] = False


def _as_preview(value: object) -> object:
    if isinstance(value, bool):
        return {"show": value}
    return {"url": value} if isinstance(value, str) else value


#: A preview; true, false and a URL are short forms.
Preview = Annotated[
    LinkPreview, BeforeValidator(_as_preview, json_schema_input_type=bool | WebUrl | LinkPreview)
]
