"""Problem documents (RFC 9457): every error that a caller gets, with what to change."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.responses import Response

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


def invalid_input(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """A 422 with one entry for each wrong field. Values are not repeated: they may be secrets."""
    entries = [{"loc": list(error["loc"]), "msg": _message(error)} for error in errors]
    return Problem(422, "Invalid input", "See `errors`: one entry a field.", errors=entries)


def _message(error: Mapping[str, Any]) -> str:
    if error.get("type") == "string_pattern_mismatch" and "\0" in str(error.get("input")):
        return "a text cannot have NUL (U+0000)"
    message = str(error["msg"]).removeprefix("Value error, ")
    # pydantic_core names the place of a JSON error only in the context
    reason = error.get("ctx", {}).get("error") if error.get("type") == "json_invalid" else None
    return f"{message}: {reason}" if reason and str(reason) not in message else message


def install(app: FastAPI) -> None:
    """Registers handlers that turn every error of the app into a problem document."""

    async def problem(_: Request, error: Exception) -> Response:
        assert isinstance(error, Problem)  # noqa: S101 - registered for this class alone
        return error.response()

    async def validation(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this class alone
        return invalid_input(error.errors()).response()

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
