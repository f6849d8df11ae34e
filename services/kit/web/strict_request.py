"""Refuses what a request names twice or in vain: repeated headers, and query parameters that no route has."""

from typing import Any

from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import Problem, invalid_input
from services.kit.field_errors import did_you_mean

#: Headers that decide something and that one request has once: of two, each reader may choose another.
SINGLE = frozenset(
    {
        b"authorization",
        b"host",
        b"idempotency-key",
        b"last-event-id",
        b"x-cctelegram-key-id",
        b"x-cctelegram-signature",
        b"x-cctelegram-timestamp",
        b"x-telegram-bot-api-secret-token",
    }
)

#: In a route's ``openapi_extra``: other programs define its query, so an unknown parameter is theirs.
ANY_QUERY = "x-any-query"


class SingleHeaders:
    """Answers 400 to a request that has one of the headers of :data:`SINGLE` twice.

    Args:
        app: the next ASGI application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and (name := _repeated(scope["headers"])):
            text = f"The header {name.decode()} is there more than once: send it once."
            await Problem(400, "Bad Request", text).response()(scope, receive, send)
            return
        await self.app(scope, receive, send)


def _repeated(headers: list[tuple[bytes, bytes]]) -> bytes | None:
    names = [name for name, _ in headers if name in SINGLE]
    if len(names) < 2 or len(names) == len(set(names)):  # noqa: PLR2004 - one cannot be repeated
        return None
    return next(name for name in names if names.count(name) > 1)


async def known_query(connection: HTTPConnection) -> None:
    """FastAPI dependency: a misspelt query parameter is an error, and not a filter that is silently missing.

    It lets pass what other programs address: a POST without query parameters of its own, since the URL of a
    webhook may carry a label of theirs; and the pages of people, whose links do.

    Raises:
        Problem: 422, one entry for each unknown parameter.
    """
    if connection.scope["type"] != "http" or not connection.scope["query_string"]:
        return
    route = connection.scope["route"]
    known = _names(route)
    if (
        _is_page(route)
        or (route.openapi_extra or {}).get(ANY_QUERY)
        or (not known and connection.scope["method"] == "POST")
    ):
        return
    text = f"the parameters are {', '.join(sorted(known))}" if known else "there are no parameters"
    unknown = [
        {"loc": ["query", name], "msg": f"unknown parameter{did_you_mean(name, known) or f'; {text}'}"}
        for name in connection.query_params
        if name not in known
    ]
    if unknown:
        raise invalid_input(unknown)


def _names(route: Any) -> set[str]:
    """The query parameters of a route and of its dependencies."""
    names: set[str] = set()
    dependants = [route.dependant]
    while dependants:
        current = dependants.pop()
        dependants += current.dependencies
        for field in current.query_params:
            names |= _fields(field.field_info.annotation) or {field.alias}
    return names


def _fields(annotation: object) -> set[str]:
    """The parameters that a model of query parameters has; none if it is no model."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return set()
    return {info.alias or name for name, info in annotation.model_fields.items()}


def _is_page(route: Any) -> bool:
    made = getattr(route.response_class, "value", route.response_class)
    return not route.include_in_schema or issubclass(made, HTMLResponse | RedirectResponse)
