"""ntfy's fields in headers, in the query and in its JSON form. Pure.

Names and rules are those of ntfy's server (docs/publish.md there): a header goes before the query, and the
first name of a field that has a value counts.
"""

import re
from collections.abc import Iterable, Mapping
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from types import MappingProxyType
from typing import Any

from services.bridge.ways_in.draft import Given, fault
from services.bridge.ways_in.send import object_of
from services.bridge.ways_in.topics import TOPIC

#: Field → its names, the first of which is ntfy's own.
NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "title": ("x-title", "title", "t"),
        "message": ("x-message", "message", "m"),
        "priority": ("x-priority", "priority", "prio", "p"),
        "tags": ("x-tags", "tags", "tag", "ta"),
        "delay": ("x-delay", "delay", "x-at", "at", "x-in", "in"),
        "click": ("x-click", "click"),
        "actions": ("x-actions", "actions", "action"),
        "attach": ("x-attach", "attach", "a"),
        "filename": ("x-filename", "filename", "file", "f"),
        "markdown": ("x-markdown", "markdown", "md"),
        "email": ("x-email", "x-e-mail", "email", "e-mail", "mail", "e"),
        "call": ("x-call", "call"),
        "template": ("x-template", "template", "tpl"),
        "unifiedpush": ("x-unifiedpush", "unifiedpush", "up"),
    }
)
#: Fields of the JSON form; others, such as `icon`, `cache` and `firebase`, say nothing to us.
_OF_JSON = frozenset(NAMES) - {"template", "unifiedpush"}
#: Browsers send a header of this name too (RFC 9218).
_OF_BROWSERS = re.compile(r"u=\d(,\s*(i|\d))?|i")
TRUE = frozenset({"1", "yes", "true"})
_FALSE = frozenset({"", "0", "no", "false"})
#: What ntfy says for a message without a text.
EMPTY = "triggered"

Fields = dict[str, Given]


def of_request(headers: Iterable[tuple[bytes, bytes]], query: Iterable[tuple[str, str]]) -> Fields:
    """The fields of headers and query, as texts."""
    sent = {name.decode("latin-1"): _text(value) for name, value in reversed(list(headers))}
    asked = {name.lower(): value.strip() for name, value in query}
    if _OF_BROWSERS.fullmatch(sent.get("priority", "")):
        del sent["priority"]
    found = {field: _first(names, sent, asked) for field, names in NAMES.items()}
    if sent.get("content-type", "").lower() == "text/markdown":
        found["markdown"] = Given("yes", ("header", "Content-Type"))
    return {field: given for field, given in found.items() if given is not None}


def of_json(body: bytes) -> tuple[str, Fields]:
    """Topic and fields of the JSON form.

    Raises:
        Problem: 422, it is no JSON object with a topic, or a field has another type.
    """
    given = dict(object_of(body))
    topic = given.get("topic")
    if not isinstance(topic, str) or not TOPIC.fullmatch(topic):
        raise fault(("body", "topic"), "name a topic: 1 to 64 letters, digits, - and _")
    fields = {name: Given(given[name], ("body", name)) for name in _OF_JSON & set(given)}
    for name, one in fields.items():
        if not isinstance(one.value, _types(name)):
            raise fault(one.place, f"write {_WORDS[_types(name)[0]]}")
    found = {name: one for name, one in fields.items() if one.value not in (None, "", [], 0, False)}
    tags = found.get("tags")
    if tags and not all(isinstance(tag, str) for tag in tags.value):
        raise fault(tags.place, "write a list of texts")
    return topic, found


_WORDS: Mapping[type, str] = MappingProxyType(
    {str: "a text", list: "a list", int: "a number", bool: "true or false"}
)


def _types(name: str) -> tuple[type, ...]:
    match name:
        case "tags" | "actions":
            return list, type(None)
        case "priority":
            return int, str, type(None)
        case "markdown":
            return bool, type(None)
        case _:
            return str, type(None)


def flag(given: Given | None) -> bool:
    """The value of a field that is yes or no.

    Raises:
        Problem: 422, it is neither.
    """
    text = "" if given is None else str(given.value).lower()
    if given is not None and text not in TRUE | _FALSE:
        raise fault(given.place, "write yes or no")
    return text in TRUE


def _text(value: bytes) -> str:
    """The text of a header: clients send UTF-8 as it is, or RFC 2047."""
    text = value.decode("utf-8", "replace").strip()
    if "=?" not in text:
        return text
    try:
        return str(make_header(decode_header(text)))
    except (HeaderParseError, UnicodeDecodeError, LookupError):
        return text


def _first(names: tuple[str, ...], sent: Mapping[str, Any], asked: Mapping[str, Any]) -> Given | None:
    for place, values in (("header", sent), ("query", asked)):
        for name in names:
            if values.get(name):
                return Given(values[name], (place, _spelt(name) if place == "header" else name))
    return None


def _spelt(name: str) -> str:
    """A header's name as people write it."""
    return name.title()
