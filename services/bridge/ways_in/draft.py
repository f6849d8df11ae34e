"""A draft: an event made of a client's own fields, and where the client wrote each of them. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import orjson

from services.contracts.events import NewEvent
from services.contracts.fields import is_blank
from services.kit.errors import Problem, invalid_input

#: Where a value stands in a request, such as ``("query", "title")``.
Place = tuple[str | int, ...]

_PROPERTIES: Mapping[str, Any] = NewEvent.model_json_schema()["properties"]
LONGEST_TITLE: int = _PROPERTIES["title"]["maxLength"]
LONGEST_DESCRIPTION: int = _PROPERTIES["description"]["maxLength"]
#: Longest `data.results` and `data.code_snippet`, which have what is too long for a description.
LONGEST_RESULTS = 5_000
LONGEST_TEXT = 20_000
_CUT = "…"


@dataclass(frozen=True, slots=True)
class Given:
    """A value that the client gave, and where."""

    value: Any
    place: Place


@dataclass(frozen=True, slots=True)
class Draft:
    """An event that is not checked yet.

    Args:
        event: fields of a NewEvent.
        places: where the client wrote them, by field; such as ``title`` or ``data.url``.
    """

    event: Mapping[str, Any]
    places: Mapping[str, Place]

    def json(self) -> bytes:
        try:
            return orjson.dumps(self.event)
        except TypeError:  # a lone surrogate, which only JSON's escapes can spell
            raise fault(("body",), "the text has half of a surrogate pair") from None

    def in_client_words(self, problem: Problem) -> Problem:
        """The problem, with the client's own fields instead of those of an event."""
        if problem.errors is not None:
            problem.errors = [{**error, "loc": self._place(error["loc"])} for error in problem.errors]
        return problem

    def _place(self, loc: Sequence[str | int]) -> list[str | int]:
        for length in (2, 1):
            place = self.places.get(".".join(map(str, loc[:length])))
            if place is not None:
                return [*place, *loc[length:]]
        return list(loc)


def fault(place: Place, message: str) -> Problem:
    """A 422 for one field."""
    return invalid_input([{"loc": place, "msg": message}])


def unknown_field(place: Place, name: str, known: Iterable[str]) -> Problem:
    """A 422 for a field that does not exist; it names the nearest one that does."""
    names = sorted(known)
    near = get_close_matches(name, names, 1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are {', '.join(names)}"
    return fault(place, f"unknown field; {hint}")


def decoded(body: bytes, charset: str = "utf-8") -> str:
    """The text of a body.

    Raises:
        Problem: 422, it is no text of the charset.
    """
    try:
        return body.decode(charset)
    except (UnicodeDecodeError, LookupError):
        raise fault(("body",), f"the body is no {charset.upper()} text") from None


def words(title: Given | None, text: Given | None) -> Draft:
    """Title and text of an event. Without a title, the first line of the text is the title.

    A title that is cut, or a text that is too long for a description, loses nothing: the whole text is
    below the title, in the field that can hold it.

    Raises:
        Problem: 422, there is nothing to show, or the text is too long.
    """
    body = "" if text is None else str(text.value).strip("\r\n")
    place: Place = ("body",) if text is None else text.place
    if title is None:
        if is_blank(body):
            raise fault(place, "there is no text: write one")
        return _described(*_headline(body), place, place)
    return _described(title.value, body, title.place, place)


def _headline(text: str) -> tuple[str, str]:
    """The title of a text, and what is below it."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if not is_blank(line))
    first = lines[at].strip()
    if len(first) > LONGEST_TITLE:
        return first[: LONGEST_TITLE - 1].rstrip() + _CUT, text
    return first, "\n".join(lines[at + 1 :]).strip("\r\n")


def _described(title: str, text: str, title_place: Place, place: Place) -> Draft:
    if len(text) > LONGEST_TEXT:
        raise fault(place, f"the text has {len(text)} characters; at most {LONGEST_TEXT} are taken")
    if "\0" in text:
        raise fault(place, "a text cannot have NUL (U+0000)")
    event: dict[str, Any] = {"title": title}
    places = {"title": title_place, "description": place}
    if len(text) <= LONGEST_DESCRIPTION:
        return Draft(event | ({"description": text} if text else {}), places)
    field = "results" if len(text) <= LONGEST_RESULTS else "code_snippet"
    return Draft(event | {"data": {field: text}}, places | {f"data.{field}": place})
