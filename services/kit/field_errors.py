"""Errors of fields in plain English: what to write, under the path that the client wrote.

pydantic names its types ("Input should be a valid integer"), and its paths name the validators that
it tried (``function-after[_chat(), int]``). People who post JSON know neither.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, reduce
from itertools import islice
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

#: The pattern of a text without NUL, which PostgreSQL cannot store.
NO_NUL = r"^[^\x00]*$"
#: Where a model has at most so many fields, the error of an unknown one lists them.
_FEW = 8
#: A body can have a fault in each of its bytes; a person reads the first ones.
MOST_ENTRIES = 100
_ABSENT = object()

_NUMBER, _TEXT, _LIST, _OBJECT = "a whole number", "a text", "a list", "an object"
_TIME = "a time such as 2026-01-31T08:00:00Z"
#: What to write instead of a value of the wrong type, by pydantic's type of the error.
KINDS: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "date_from_datetime_parsing": "a date such as 2026-01-31",
    "datetime_from_date_parsing": _TIME,
    "datetime_object_invalid": _TIME,
    "datetime_parsing": _TIME,
    "datetime_type": _TIME,
    "dict_type": _OBJECT,
    "enum": "{expected}",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": _NUMBER,
    "int_parsing": _NUMBER,
    "int_parsing_size": _NUMBER + " that is not so large",
    "int_type": _NUMBER,
    "list_type": _LIST,
    "literal_error": "{expected}",
    "model_attributes_type": _OBJECT,
    "model_type": _OBJECT,
    "set_type": _LIST,
    "string_type": _TEXT,
    "tuple_type": _LIST,
    "url_type": "a URL such as https://example.com/",
    "uuid_parsing": "a UUID",
    "uuid_type": "a UUID",
}
#: What is wrong with a value of the right type. The names in braces are pydantic's context of the error.
FAULTS: Mapping[str, str] = {
    "extra_forbidden": "there is no such field",
    "finite_number": "write a finite number",
    "greater_than": "write more than {gt:g}",
    "greater_than_equal": "write {ge:g} or more",
    "invalid_key": "the name of a field is a text",
    "json_invalid": "the body is not valid JSON: {error}",
    "json_type": "write JSON",
    "less_than": "write less than {lt:g}",
    "less_than_equal": "write {le:g} or less",
    "missing": "this field is missing",
    "recursion_loop": "it contains itself",
    "recursion_depth_exceeded": "it has too many levels",
    "string_pattern_mismatch": "it has a character that is not allowed",
    "string_too_long": "write at most {max_length} characters",
    "string_too_short": "write at least {min_length} characters",
    "string_unicode": "it has half of a surrogate pair, which is no character",
    "url_parsing": "write a URL such as https://example.com/",
    "url_scheme": "write a URL that begins with {expected_schemes}",
    "url_too_long": "write a URL of at most {max_length} characters",
    "timezone_aware": "the time has no zone: end it with Z, or with an offset such as +01:00",
    "too_long": "write at most {max_length} entries",
    "too_short": "write at least {min_length} entries",
}
#: These have a text of their own, made where the value is checked.
OWN_WORDS = frozenset({"form", "value_error", "assertion_error"})


class ErrorText:
    """Metadata of a type: one text for every error of it.

    For texts with a pattern, which says nothing to a person::

        ClockTime = Annotated[str, StringConstraints(pattern=...), ErrorText("write a time such as 07:30")]

    Args:
        text: what to write, without braces.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="form", custom_error_message=self.text
        )


def message(error: Mapping[str, Any]) -> str:
    """The text of one of pydantic's errors, or of an entry that has no ``type``: its ``msg``."""
    kind = error.get("type")
    if kind is None or kind in OWN_WORDS:
        return str(error["msg"]).removeprefix("Value error, ")
    context = error.get("ctx", {})
    if kind == "string_pattern_mismatch" and context.get("pattern") == NO_NUL:
        return "a text cannot have NUL (U+0000)"
    if kind == "string_too_short" and context.get("min_length") == 1:
        return "it is empty"
    # Of a secret; pydantic calls some lists so, too.
    is_text = context.get("field_type") == "Value" and not isinstance(error.get("input"), list)
    if kind in ("too_short", "too_long") and is_text:
        kind = f"string_{kind}"
    if kind in KINDS:
        return "write " + KINDS[kind].format(**context)
    text = FAULTS.get(kind, "this value is not possible here").format(**context)
    return _singular(text)


def lines(error: ValidationError) -> Iterator[str]:
    """Yields one line, ``path.of.the.field: what to write``, for each fault; values may be secrets."""
    for fault in error.errors(include_url=False, include_input=False):
        where = ".".join(str(part) for part in fault["loc"] if part != "[key]")
        yield f"{where}: {message(fault)}" if where else message(fault)


def _singular(text: str) -> str:
    return text.replace(" 1 characters", " 1 character").replace(" 1 entries", " 1 entry")


def entries(
    errors: Iterable[Mapping[str, Any]], shape: Any = None, given: Any = _ABSENT
) -> list[dict[str, Any]]:
    """One entry, ``{"loc": [...], "msg": ...}``, for each of the first 100 faults; values may be secrets.

    Args:
        errors: of pydantic, or entries.
        shape: the type that was expected: a model, a list of a model, a union of them.
        given: the value that is not valid; without it, paths stay as they are.
    """
    found: list[tuple[list[int | str], Mapping[str, Any], frozenset[str], bool]] = []
    for error in islice(errors, MOST_ENTRIES):
        loc = list(error["loc"])
        if given is _ABSENT:
            found.append((loc, error, frozenset(), False))
            continue
        path, names = _written(loc, shape, given)
        found.append((path, error, names, len(path) < len(loc)))
    kept = [each for each in found if not _is_other_branch(each, found)]
    texts: dict[tuple[int | str, ...], list[str]] = {}
    for path, error, names, _ in kept:
        text = message(error)
        if error.get("type") == "extra_forbidden":
            text += _nearest(str(path[-1]) if path else "", names)
        known = texts.setdefault(tuple(path), [])
        if text not in known:
            known.append(text)
    return [{"loc": list(path), "msg": text} for path, said in texts.items() for text in _joined(said)]


def _is_other_branch(
    one: tuple[list[int | str], Mapping[str, Any], frozenset[str], bool],
    found: Sequence[tuple[list[int | str], Mapping[str, Any], frozenset[str], bool]],
) -> bool:
    """Whether the error belongs to a branch of a union that the value is not of: another fits its type."""
    path, error, _, in_union = one
    if not in_union or error.get("type") not in KINDS:
        return False
    return any(
        other[3]
        and other[0][: len(path)] == path
        and (len(other[0]) > len(path) or other[1].get("type") not in KINDS)
        for other in found
    )


def _joined(texts: Sequence[str]) -> list[str]:
    """``write A`` and ``write B`` of one field are ``write A or B``."""
    if len(texts) > 1 and all(text.startswith("write a") for text in texts):
        return [" or ".join([texts[0], *(text.removeprefix("write ") for text in texts[1:])])]
    return list(texts)


def _written(loc: Sequence[int | str], shape: Any, given: Any) -> tuple[list[int | str], frozenset[str]]:
    """The path without what pydantic adds to it, and the names that its last step could have."""
    path: list[int | str] = []
    shapes = _branches(shape)
    names: frozenset[str] = frozenset()
    for step in loc:
        fields = _fields(shapes)
        if isinstance(given, list) and isinstance(step, int) and 0 <= step < len(given):
            path, shapes, given = [*path, step], _items(shapes), given[step]
        elif isinstance(given, dict) and (name := _name(step, given, fields)) is not None:
            names = frozenset(fields) | {
                f"{outer}.{inner}" for outer, kinds in fields.items() for inner in _fields(kinds)
            }
            path, shapes = [*path, name], fields.get(str(step)) or _items(shapes)
            given = given.get(name, {})
    return path, names


def _name(step: int | str, given: Mapping[str, Any], fields: Mapping[str, Any]) -> str | None:
    """The step as a field that the client wrote or left out; None if it is one of pydantic's own."""
    if not isinstance(step, str):
        return None
    return step if step in given or step in fields else None


def _nearest(wrong: str, names: Iterable[str]) -> str:
    known = sorted(names)
    inner = [name for name in known if name.endswith(f".{wrong}")]
    outer = [name for name in known if "." not in name]
    close = get_close_matches(wrong.casefold(), outer, n=1) or inner[:1]
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; the fields are {', '.join(outer)}" if 0 < len(outer) <= _FEW else ""


def did_you_mean(wrong: str, names: Iterable[str]) -> str:
    """``; did you mean "limit"?``, or nothing if no name is close."""
    close = get_close_matches(wrong.casefold(), sorted(names), n=1)
    return f'; did you mean "{close[0]}"?' if close else ""


def _branches(shape: Any) -> tuple[Any, ...]:
    """The members of a union, without annotations."""
    if get_origin(shape) is Annotated:
        return _branches(get_args(shape)[0])
    if get_origin(shape) in (Union, UnionType):
        return tuple(branch for member in get_args(shape) for branch in _branches(member))
    return () if shape is None or shape is type(None) else (shape,)


def _fields(shapes: Iterable[Any]) -> dict[str, tuple[Any, ...]]:
    """The fields of the models among the shapes, by the name that a client writes."""
    found: dict[str, tuple[Any, ...]] = {}
    for model in shapes:
        if isinstance(model, type) and issubclass(model, BaseModel):
            for name, kinds in _fields_of(model).items():
                found[name] = found.get(name, ()) + kinds
    return found


@cache
def _fields_of(model: type[BaseModel]) -> Mapping[str, tuple[Any, ...]]:
    return {_alias(name, info): _branches(info.annotation) for name, info in model.model_fields.items()}


def _alias(name: str, info: FieldInfo) -> str:
    for alias in (info.validation_alias, info.alias):
        if isinstance(alias, str):
            return alias
    return name


def _items(shapes: Iterable[Any]) -> tuple[Any, ...]:
    """What lists have as entries, and objects as values."""
    inner: list[tuple[Any, ...]] = [
        _branches(get_args(shape)[-1]) for shape in shapes if get_origin(shape) in (list, dict, tuple, set)
    ]
    return reduce(tuple.__add__, inner, ())
