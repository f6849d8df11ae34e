"""Reads `POST /send`: plain text, a form or an object, and fields in the query. Pure."""

import json
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any
from urllib.parse import parse_qsl

from services.bridge.ways_in.draft import Draft, Given, Place, decoded, fault, unknown_field, words
from services.contracts.events import NewEvent
from services.contracts.fields import read_chat

#: Short names of fields, beside the names of an event.
ALIASES = MappingProxyType(
    {
        "message": "description",
        "text": "description",
        "body": "description",
        "chat": "chat_id",
        "thread": "thread_id",
        "topic": "source",
    }
)
#: The fields of an event that are no single value.
_NESTED = frozenset({"data", "buttons", "attachments"})
FIELDS = frozenset(NewEvent.model_fields) - _NESTED
NAMES = FIELDS | set(ALIASES)
#: Fields that are true or false, and how a query or a form writes it.
_FLAGS = frozenset({"silent", "protect_content", "pin"})
_WRITTEN = MappingProxyType({"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False})
#: A body that curl calls a form is one if it has one of these; else it is a text that has a ``=``.
_OF_A_FORM = frozenset({"title", "description", "message", "text", "body"})
DEFAULT_TYPE = "info_notification"
#: Fields that a form can have at most.
MOST_FIELDS = 100

Pairs = Sequence[tuple[str, Any]]


def read(query: Pairs, form: Pairs | None, text: str) -> Draft:
    """The event of a request.

    Args:
        query: names and values of the query.
        form: those of the body, if it is a form or an object.
        text: the body, if it is a text; else empty.

    Raises:
        Problem: 422, one field is wrong.
    """
    given = _given([(name, value, ("query", name)) for name, value in query])
    more: list[tuple[str, Any, Place]] = [(name, value, ("body", name)) for name, value in form or ()]
    if text.strip():
        more.append(("description", text, ("body",)))
    for field, value in _given(more).items():
        if field in given:
            raise fault(value.place, f"this is in the query already, as `{given[field].place[-1]}`")
        given[field] = value
    draft = words(given.pop("title", None), given.pop("description", None))
    fields = {field: _value(field, one) for field, one in given.items()}
    places = {field: one.place for field, one in given.items()}
    return Draft({"type": DEFAULT_TYPE, **fields, **draft.event}, {**places, **draft.places})


def form_of(body: bytes) -> Pairs | None:
    """The fields of a body that claims to be a form; None if it is a text.

    ``curl -d TEXT`` claims that every text is a form.
    """
    text = decoded(body)
    parts = text.split("&")
    if len(parts) > MOST_FIELDS or not all("=" in part for part in parts):
        return None
    pairs = parse_qsl(text.strip("\r\n"), keep_blank_values=True)
    names = {name for name, _ in pairs}
    return pairs if names & _OF_A_FORM and all(name.isidentifier() for name in names) else None


def object_of(body: bytes) -> Pairs:
    """The fields of a JSON object.

    Raises:
        Problem: 422, the body is no JSON object.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise fault(("body",), f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise fault(("body",), "the body is no JSON object: write {...}")
    return list(found.items())


def _given(values: Iterable[tuple[str, Any, Place]]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for name, value, place in values:
        field = ALIASES.get(name, name)
        if field not in FIELDS:
            raise unknown_field(place, name, NAMES)
        if field == "silent" and value == "":  # ?silent
            value = True  # noqa: PLW2901 - the value of a flag
        if value in ("", None):  # a variable of a script that is not set
            continue
        if field in found:
            raise fault(place, f"this is there twice, as `{found[field].place[-1]}` too")
        found[field] = Given(value, place)
    return found


def _value(field: str, given: Given) -> Any:
    """A value as JSON has it. Several chats have commas between them."""
    value = given.value
    if field in _FLAGS and isinstance(value, str):
        return _WRITTEN.get(value.lower(), value)
    if field != "chat_id" or not isinstance(value, str):
        return value
    chats = [read_chat(part) for part in value.split(",")]
    return chats[0] if len(chats) == 1 else chats
