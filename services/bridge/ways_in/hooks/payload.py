"""What the readers of webhooks share. Pure.

A webhook that is refused is lost, so nothing in it is too long: texts are cut, and fields of another type
count as missing.
"""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from services.bridge.ways_in.draft import LONGEST_DESCRIPTION, LONGEST_TITLE
from services.contracts.fields import is_blank

LONGEST_URL = 2_048
_URL = re.compile(r"https?://\S+")
_LONGEST = 4_096


def _text(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    return str(value).replace("\0", "")[:_LONGEST].encode("utf-8", "replace").decode()


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _object(value: object) -> object:
    return value if isinstance(value, dict) else {}


#: A text; a number is one too, and anything else is empty.
Words = Annotated[str, BeforeValidator(_text)]
Count = Annotated[int | None, BeforeValidator(_number)]
Flag = Annotated[bool | None, BeforeValidator(_flag)]
#: Before a model: what is no object counts as an empty one.
Part = BeforeValidator(_object)
MOST_ITEMS = 100


def _items(value: object) -> object:
    return [item for item in value[:MOST_ITEMS] if isinstance(item, dict)] if isinstance(value, list) else []


#: Before a list of models: at most a hundred objects.
Items = BeforeValidator(_items)


def _labels(value: object) -> dict[str, str]:
    found = value if isinstance(value, dict) else {}
    return {_text(name): _text(one) for name, one in list(found.items())[:MOST_ITEMS]}


Labels = Annotated[dict[str, str], BeforeValidator(_labels)]


class Payload(BaseModel):
    """A part of a webhook's payload: unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def event(
    kind: str, title: str, *lines: str, url: str = "", severity: str = "", **fields: Any
) -> dict[str, Any]:
    """An event whose texts fit.

    Args:
        kind: the event type.
        title: of the message.
        lines: of the text below it; empty ones are left out.
        url: of the thing, if it has one.
        severity: of the event; empty: the default.
        fields: of `data`.
    """
    data = {name: value for name, value in fields.items() if value}
    if _URL.fullmatch(url) and len(url) <= LONGEST_URL:
        data["url"] = url
    line = " ".join(title.split())
    made = {
        "type": kind,
        "title": cut("webhook" if is_blank(line) else line, LONGEST_TITLE),
        "description": cut("\n".join(filter(None, lines)), LONGEST_DESCRIPTION),
        "severity": severity,
        "data": data,
    }
    return {name: value for name, value in made.items() if value}


def cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0]


def words(name: str) -> str:
    """A name of an event kind, as words: ``pull_request`` → ``pull request``."""
    return name.replace("_", " ").replace(".", " ").strip()
