"""The OpenAPI document: what every operation of every service can answer, told in one place."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from services.kit.errors import PROBLEM_JSON

Responses = dict[int | str, dict[str, Any]]
Document = dict[str, Any]

_HEADERS: dict[int, tuple[str, dict[str, Any]]] = {
    401: (
        "WWW-Authenticate",
        {"description": "the way to be let in", "schema": {"type": "string", "examples": ["Bearer"]}},
    ),
    429: (
        "Retry-After",
        {"description": "seconds to wait", "schema": {"type": "string", "examples": ["1"]}},
    ),
    503: (
        "Retry-After",
        {"description": "seconds to wait", "schema": {"type": "string", "examples": ["1"]}},
    ),
}


class Fault(BaseModel):
    """What is wrong with one field."""

    loc: list[str | int] = Field(
        description="where: names, and numbers in lists; elsewhere than in events after `body`, `query`, "
        "`path` or `header`",
        examples=[["data", "coverage_percentage"]],
    )
    msg: str = Field(description="what is wrong", examples=["Input should be less than or equal to 100"])


class ProblemDocument(BaseModel):
    """An answer that is not the one hoped for (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="always about:blank: the status says it", examples=["about:blank"])
    title: str = Field(description="what went wrong, the same each time", examples=["Invalid input"])
    status: int = Field(description="the HTTP status", examples=[422])
    detail: str = Field("", description="what it was this time", examples=["See `errors`."])
    errors: list[Fault] = Field([], description="where the input is wrong: one entry a field")


def problems(said: Mapping[int, str]) -> Responses:
    """Answers of a route that are problem documents: status → when it is answered."""
    return {status: _problem(status, text) for status, text in said.items()}


def _problem(status: int | str, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": text,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    if isinstance(status, int) and status in _HEADERS:
        name, header = _HEADERS[status]
        answer["headers"] = {name: header}
    return answer


#: Every answer that a route does not name itself is a problem.
ANY_PROBLEM: Responses = {"default": _problem("default", "a problem")}


def install(app: FastAPI, schemas: Mapping[str, type[BaseModel]]) -> None:
    """Adds what FastAPI does not see: the models of hot routes, and what any operation can answer.

    Args:
        app: of the service.
        schemas: models that only hot routes refer to.
    """

    def complete(document: Document) -> None:
        models: list[type[BaseModel]] = [ProblemDocument, *schemas.values()]
        _, found = models_json_schema(
            [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        for _, _, operation in operations(document):
            _name_common(operation)

    after(app, complete)


def after(app: FastAPI, change: Callable[[Document], None]) -> None:
    """Has the document changed once it is made."""
    plain = app.openapi

    def documented() -> Document:
        made = app.openapi_schema is None
        document = plain()
        if made:
            change(document)
        return document

    app.openapi = documented  # type: ignore[method-assign] # FastAPI's documented way


def _name_common(operation: dict[str, Any]) -> None:
    common = {500: "nobody foresaw this; the failure is in the log, under this trace"}
    if "requestBody" in operation:
        common[400] = "the body cannot be read"
        common[413] = "the body is larger than MAX_BODY_BYTES"
    if "requestBody" in operation or operation.get("parameters"):
        common[422] = "the input is wrong: one entry a field"
    if operation.get("security"):
        common[401] = "the key is missing or not known"
    for status, text in common.items():
        operation["responses"].setdefault(str(status), _problem(status, text))


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation of each."""
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            yield method.upper(), path, operation
