"""The OpenAPI document: the error responses that every operation of every service can return."""

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
        {"description": "The authentication scheme", "schema": {"type": "string", "examples": ["Bearer"]}},
    ),
    429: (
        "Retry-After",
        {
            "description": "Seconds to wait before the next try",
            "schema": {"type": "string", "examples": ["1"]},
        },
    ),
    503: (
        "Retry-After",
        {
            "description": "Seconds to wait before the next try",
            "schema": {"type": "string", "examples": ["1"]},
        },
    ),
}


class Fault(BaseModel):
    """The error of one field."""

    loc: list[str | int] = Field(
        description="Path of the field: names, and positions in lists. For other requests than events it "
        "starts with `body`, `query`, `path` or `header`",
        examples=[["data", "coverage_percentage"]],
    )
    msg: str = Field(description="The error", examples=["write 100 or less"])


class ProblemDocument(BaseModel):
    """A problem document (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="Always about:blank: the status names the kind", examples=["about:blank"])
    title: str = Field(
        description="Kind of the problem, the same for every occurrence", examples=["Invalid input"]
    )
    status: int = Field(description="HTTP status", examples=[422])
    detail: str = Field(
        "", description="Cause of this occurrence, and the remedy", examples=["See `errors`."]
    )
    errors: list[Fault] = Field([], description="One entry for each wrong field")


def problems(descriptions: Mapping[int, str]) -> Responses:
    """Responses of a route that are problem documents: status → description of the case."""
    return {status: _problem(status, text) for status, text in descriptions.items()}


def _problem(status: int | str, text: str) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": text,
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}},
    }
    if isinstance(status, int) and status in _HEADERS:
        name, header = _HEADERS[status]
        answer["headers"] = {name: header}
    return answer


#: Every response that a route does not declare is a problem document.
ANY_PROBLEM: Responses = {"default": _problem("default", "A problem")}


def install(app: FastAPI, schemas: Mapping[str, type[BaseModel]]) -> None:
    """Adds what FastAPI does not know: the models of fast routes, and the common error responses.

    Args:
        app: of the service.
        schemas: models that only fast routes refer to.
    """

    def complete(document: Document) -> None:
        models: list[type[BaseModel]] = [ProblemDocument, *schemas.values()]
        _, found = models_json_schema(
            [(model, "validation") for model in models], ref_template="#/components/schemas/{model}"
        )
        document.setdefault("components", {}).setdefault("schemas", {}).update(found["$defs"])
        for _, _, operation in operations(document):
            _add_common_problems(operation)

    after(app, complete)


def after(app: FastAPI, change: Callable[[Document], None]) -> None:
    """Runs ``change`` on the document when it is first made."""
    plain = app.openapi

    def changed_document() -> Document:
        made = app.openapi_schema is None
        document = plain()
        if made:
            change(document)
        return document

    app.openapi = changed_document  # type: ignore[method-assign] # FastAPI's documented way


def _add_common_problems(operation: dict[str, Any]) -> None:
    common = {500: "Unexpected error; the log has it under this trace"}
    if "requestBody" in operation:
        common[400] = "The body cannot be read"
        common[413] = "The body is larger than MAX_BODY_BYTES"
    # Routes of a service refuse unknown query parameters; the common ones, which probes call, do not.
    is_common = "service" in operation.get("tags", ())
    if not is_common:
        common.setdefault(400, "A header that decides something is there more than once")
    if "requestBody" in operation or operation.get("parameters") or not is_common:
        common[422] = "The input is wrong; `errors` has one entry a field"
    if operation.get("security"):
        common[401] = "The key is missing or unknown"
    for status, text in common.items():
        operation["responses"].setdefault(str(status), _problem(status, text))


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Method, path and operation object of every operation."""
    for path, item in document.get("paths", {}).items():
        for method, operation in item.items():
            yield method.upper(), path, operation
