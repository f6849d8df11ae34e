"""Makes contract models of stored rows: an odd value in a row is shown as none, and fails no list.

A row may be older than a check, or written by a later version; SQLite stores any type in any column.
"""

from collections.abc import Callable
from enum import EnumType
from functools import reduce
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError

M = TypeVar("M", bound=BaseModel)


def from_row(model: type[M], /, **values: Any) -> M:
    """Makes a model of a row's values. A value that its field does not take is replaced by :func:`neutral`.

    Args:
        model: of the answer.
        values: by the field's name; those of all fields without a default.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        odd = {str(fault["loc"][0]) for fault in error.errors(include_url=False, include_input=False)}
    sound = {name: neutral(model.model_fields[name].annotation, values.get(name)) for name in odd}
    return model.model_validate(values | sound)


def neutral(kind: Any, value: Any) -> Any:
    """Returns the value of a type that says least: null, the value as text, zero, or nothing.

    Args:
        kind: type of a field.
        value: that the field does not take.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return None if NoneType in inner else neutral(inner[0], value)
    if isinstance(kind, EnumType):
        inner = tuple(kind)
    if inner and origin in {Literal, None}:
        # The last one is a final state.
        return "unknown" if "unknown" in inner else inner[-1]
    kind = origin or kind
    return str(value) if kind is str else kind() if kind in _EMPTY else None


_EMPTY = (int, float, bool, list, dict)


def json_of(text: Any, loads: Callable[[Any], Any] = orjson.loads) -> Any:
    """Returns the JSON of a column; None where it is none, or nothing that an answer can hold.

    Args:
        text: of the column.
        loads: reads it.
    """
    try:
        read = loads(text)
        # Writing has a limit of depth and of integers that reading has not.
        orjson.dumps(reduce(lambda inner, _: [inner], range(_LEVELS_OF_AN_ANSWER), read))
    except (RecursionError, TypeError, ValueError):
        return None
    return read


_LEVELS_OF_AN_ANSWER = 10


def number_of(value: Any) -> float:
    """A stored number; 0 where the value is none, since SQLite stores any type in any column."""
    return value if isinstance(value, int | float) else 0.0
