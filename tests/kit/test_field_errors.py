"""Errors of fields: the client's own paths, the nearest name, and no word of the validator."""

from typing import Annotated, Any

import pytest
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from services.kit import field_errors
from services.kit.field_errors import ErrorText


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("write an even number")
    return number


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Even = Annotated[int, Field(strict=True), AfterValidator(_even)]


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    depth: int = Field(0, alias="levels")
    code: Annotated[str, Field(pattern="^[a-z]+$"), ErrorText("write small letters")] = "a"


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str = Field("x", min_length=1, max_length=5)
    to: Even | list[Even] | None = None
    inner: Inner = Field(default_factory=Inner)
    many: dict[str, Inner] = {}
    tags: Annotated[list[str], BeforeValidator(_listed), Field(max_length=1)] = []
    loud: bool = Field(default=False, strict=True)


def errors(given: object, shape: Any = Outer) -> list[tuple[list[int | str], str]]:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(shape).validate_python(given)
    found = field_errors.entries(caught.value.errors(), shape, given)
    return [(entry["loc"], entry["msg"]) for entry in found]


@pytest.mark.parametrize(
    ("given", "loc", "text"),
    [
        ({"titel": "x"}, ["titel"], 'there is no such field; did you mean "title"?'),
        ({"Title": "x"}, ["Title"], 'there is no such field; did you mean "title"?'),
        ({"levels": 1}, ["levels"], 'there is no such field; did you mean "inner.levels"?'),
        ({"inner": {"level": 1}}, ["inner", "level"], 'there is no such field; did you mean "levels"?'),
        (
            {"many": {"a": {"x": 1}}},
            ["many", "a", "x"],
            "there is no such field; the fields are code, levels",
        ),
        ({"inner": {"levels": "deep"}}, ["inner", "levels"], "write a whole number"),
        ({"inner": {"code": 1}}, ["inner", "code"], "write small letters"),
        ({"inner": {"code": "A"}}, ["inner", "code"], "write small letters"),
        ({"inner": 7}, ["inner"], "write an object"),
        ({"to": "@chan"}, ["to"], "write a whole number or a list"),
        ({"to": 7}, ["to"], "write an even number"),
        ({"to": [2, "x"]}, ["to", 1], "write a whole number"),
        ({"to": [2, 3]}, ["to", 1], "write an even number"),
        ({"tags": 1}, ["tags"], "write a list"),
        ({"tags": ["a", "b"]}, ["tags"], "write at most 1 entry"),
        ({"title": ""}, ["title"], "it is empty"),
        ({"title": "too long"}, ["title"], "write at most 5 characters"),
        ({"loud": 0.0}, ["loud"], "write true or false"),
        ({"loud": "yes"}, ["loud"], "write true or false"),
        ([], [], "write an object"),
    ],
)
def test_an_error_says_what_to_write_under_the_clients_own_path(
    given: object, loc: list[int | str], text: str
) -> None:
    assert errors(given) == [(loc, text)]


def test_a_list_of_models_has_positions() -> None:
    assert errors([{}, {"titel": ""}], list[Outer]) == [
        ([1, "titel"], 'there is no such field; did you mean "title"?')
    ]


def test_the_error_of_an_entry_that_was_written_as_a_text_names_the_text() -> None:
    class Choice(BaseModel):
        words: Annotated[list[Annotated[str, Field(max_length=3)]], BeforeValidator(_listed)]

    assert errors({"words": "long"}, Choice) == [(["words"], "write at most 3 characters")]


def test_a_missing_field_of_an_object_that_was_left_out_has_its_whole_path() -> None:
    class Needs(BaseModel):
        name: str

    class Holder(BaseModel):
        needs: Needs

    assert errors({"needs": {}}, Holder) == [(["needs", "name"], "this field is missing")]
    assert errors({}, Holder) == [(["needs"], "this field is missing")]
