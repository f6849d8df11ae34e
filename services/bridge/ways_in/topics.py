"""Which paths are topics: a first segment that a route has is none. Pure but for reading an app's routes."""

import re
from collections.abc import Iterator

from fastapi import FastAPI, Request
from fastapi.routing import RouteContext, iter_route_contexts

from services.kit.errors import Problem

TOPIC = re.compile(r"[-_A-Za-z0-9]{1,64}")
PATTERN = f"^{TOPIC.pattern}$"
PATH = "/{topic}"
_KNOWN = "reserved_segments"
#: Of paths that the suite has elsewhere, behind its gateway or in its other services.
NAMES = frozenset(
    {"api", "app", "control", "dashboard", "docs", "events", "file", "health", "hooks", "mcp", "metrics"}
    | {"redoc", "send", "static", "telegram", "ui", "v1"}
)


def reserved(app: FastAPI) -> frozenset[str]:
    """The first segments of all routes, and :data:`NAMES`; read once, since an app's routes do not change."""
    known: frozenset[str] | None = getattr(app.state, _KNOWN, None)
    if known is None:
        first = {path.split("/")[1] for path, _ in _routes(app)}
        known = NAMES | {segment for segment in first if segment and "{" not in segment}
        setattr(app.state, _KNOWN, known)
    return known


def is_topic(name: str, app: FastAPI) -> bool:
    return TOPIC.fullmatch(name) is not None and name not in reserved(app)


def elsewhere(request: Request, name: str) -> Problem:
    """The answer to a request that publishes nothing: what it would get if there were no topics."""
    methods = {
        method
        for path, context in _routes(request.app)
        if path == f"/{name}" and context.include_in_schema
        for method in context.methods or ()
    }
    if not methods and is_topic(name, request.app):
        text = "Publish with POST or PUT. There is nothing to read here: messages go to Telegram."
        return Problem(405, "Method Not Allowed", text, headers={"Allow": "POST, PUT"})
    if not methods:
        return Problem(404, "Not Found", "No route has this path, and no topic can have this name.")
    allowed = methods | ({"HEAD"} if "GET" in methods else set())
    return Problem(405, "Method Not Allowed", headers={"Allow": ", ".join(sorted(allowed))})


def _routes(app: FastAPI) -> Iterator[tuple[str, RouteContext]]:
    return (
        (str(context.path), context)
        for context in iter_route_contexts(app.routes)
        if context.path and context.path != PATH
    )
