"""Problem documents (RFC 9457): every error that a caller gets, with what to change."""

import json
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.kit import field_errors

log = structlog.get_logger()
PROBLEM_JSON = "application/problem+json"


class Problem(Exception):  # noqa: N818 - RFC 9457's own word
    """An error response as an exception.

    Args:
        status: HTTP status code.
        title: short sentence, the same for every occurrence.
        detail: what was wrong this time, and what to do.
        headers: of the response, such as ``Retry-After``.
        errors: one entry for each wrong field, ``{"loc": [...], "msg": "..."}``.
        extensions: further members of the document.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Mapping[str, Any]] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail or title)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = dict(headers or {})
        self.errors = errors
        self.extensions = extensions

    def response(self) -> Response:
        body: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.errors is not None:
            body["errors"] = list(self.errors)
        return Response(
            _json(body | self.extensions),
            self.status,
            self.headers,
            media_type=PROBLEM_JSON,
        )


def _json(body: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:  # a field's name in the request has a lone surrogate
        return json.dumps(body, default=str).encode()


def invalid_input(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """A 422 with one entry for each wrong field. Values are not repeated: they may be secrets."""
    return _invalid(field_errors.entries(errors))


def invalid_json(error: ValidationError, shape: Any, body: bytes) -> Problem:
    """A 422 for JSON that is not valid, with the paths and names that the client wrote.

    Args:
        error: pydantic's.
        shape: the type that was expected: a model, or a list of a model.
        body: the JSON.
    """
    faults = error.errors(include_url=False)
    try:
        given = json.loads(body)
    except (ValueError, RecursionError):
        return invalid_input(faults)
    return _invalid(field_errors.entries(faults, shape, given))


def _invalid(entries: Sequence[Mapping[str, Any]]) -> Problem:
    return Problem(422, "Invalid input", "See `errors`: one entry a field.", errors=entries)


def _of_route(route: Any, error: RequestValidationError) -> Problem:
    """The 422 of a FastAPI route, whose errors are those of the body and of parameters."""
    faults: Sequence[Mapping[str, Any]] = error.errors()
    of_body = [fault for fault in faults if _is_of_json(fault, error.body)]
    shape = route.body_field.field_info.annotation if of_body else None
    inner = [{**fault, "loc": fault["loc"][1:]} for fault in of_body]
    # A validator's own steps in the path of a parameter are names; positions in a list are numbers.
    others = [
        {**fault, "loc": [*fault["loc"][:2], *(step for step in fault["loc"][2:] if isinstance(step, int))]}
        for fault in faults
        if fault not in of_body
    ]
    found = [
        {**entry, "loc": ["body", *entry["loc"]]} for entry in field_errors.entries(inner, shape, error.body)
    ]
    return _invalid([*field_errors.entries(others), *found])


def _is_of_json(fault: Mapping[str, Any], body: Any) -> bool:
    return fault["loc"][0] == "body" and fault["type"] != "json_invalid" and isinstance(body, dict | list)


def install(app: FastAPI) -> None:
    """Registers handlers that turn every error of the app into a problem document."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
        return error.response()

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        return _of_route(request.scope["route"], error).response()

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this class alone
        phrase = HTTPStatus(error.status_code).phrase
        detail = str(error.detail) if error.detail != phrase else ""
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods(request)):
            headers["Allow"] = ", ".join(sorted(methods))
        return Problem(error.status_code, phrase, detail, headers=headers).response()

    app.add_exception_handler(Problem, problem)
    app.add_exception_handler(RequestValidationError, validation)
    app.add_exception_handler(HTTPException, http)


def _methods(request: Request) -> set[str]:
    """The methods of all routes with this path; the first of them names only its own."""
    methods: set[str] = set()
    for route in iter_route_contexts(request.app.routes):
        path = getattr(route, "path_regex", None)
        if route.methods and path is not None and path.match(request.scope["path"]):
            methods |= route.methods
    return methods | ({"HEAD"} if "GET" in methods else set())


async def unexpected_error(request: Request, error: Exception) -> Response:
    """The 500 response to an unhandled exception. The log has the traceback, the response does not."""
    log.error("request_failed", path=request.url.path, exc_info=error)
    return Problem(500, "Internal Server Error", "The failure is in the log, under this trace.").response()
