"""The bridge's OpenAPI document: what FastAPI does not see, and what its routes have in common.

Each operation names every status that it can answer, the scope that it needs, and whether it may be
signed instead. What a single route can answer stands with the route.
"""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from services.bridge.events import accept
from services.bridge.keys import keys
from services.contracts.events import Accepted, AcceptedBatch
from services.contracts.fields import A_TRACE
from services.kit.web import openapi
from services.kit.web.auth import bearer
from services.kit.web.openapi import problems

_EVENT = {"$ref": "#/components/schemas/NewEvent"}
_BATCH = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": accept.LARGEST_BATCH}
_AN_EVENT = {"type": "task_completion", "title": "Build finished", "source": "ci"}
_BODY = {
    "required": True,
    "description": "one event, or a list of up to 500: all of a list is stored, or nothing is",
    "content": {
        "application/json": {
            "schema": {"oneOf": [_EVENT, _BATCH]},
            "examples": {
                "event": {"summary": "one event", "value": _AN_EVENT | {"data": {"duration_ms": 1_200}}},
                "list": {
                    "summary": "a list",
                    "value": [
                        _AN_EVENT,
                        {"type": "build_failed", "title": "Build 8 is red", "chat_id": 1001},
                    ],
                },
            },
        }
    },
}
_HEADERS = [
    {"name": name, "in": "header", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        (
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": accept.LONGEST_KEY, "examples": ["build-7"]},
            "a repetition with the same key and body gets the first answer again, for 24 hours",
        ),
        (
            "traceparent",
            {"type": "string", "examples": [f"00-{A_TRACE}-b7ad6b7169203331-01"]},
            "W3C trace context of the caller: the event becomes part of its trace",
        ),
        (
            "X-Correlation-ID",
            {"type": "string", "examples": ["order-4711"]},
            "shown on every message and log line; 1 to 128 letters, digits and ._:/- , all else is ignored",
        ),
        (
            "X-CCTelegram-Key-Id",
            {"type": "string", "examples": ["key_b0bcb4cdcac1dfba"]},
            "signed requests: id of the signing key",
        ),
        (
            "X-CCTelegram-Timestamp",
            {"type": "string", "examples": ["1769846400"]},
            "signed requests: seconds since the epoch, ±300 s",
        ),
    )
]
_TAKEN = {
    "description": "it is on disk, or was before",
    "headers": {
        "Idempotent-Replayed": {
            "description": "`true` where this is the first answer again",
            "schema": {"type": "string", "examples": ["true"]},
        },
        "traceresponse": {
            "description": "W3C trace context of the event",
            "schema": {"type": "string", "examples": [f"00-{A_TRACE}-b7ad6b7169203331-01"]},
        },
    },
}
POSTING: dict[str, Any] = {
    "status_code": 202,
    "summary": "Take one event, or a list of up to 500",
    "response_model": Accepted | AcceptedBatch,
    "dependencies": [Depends(bearer)],
    "openapi_extra": {"requestBody": _BODY, "parameters": _HEADERS},
    "responses": {
        202: _TAKEN,
        **problems(
            {
                400: "a header is wrong, or the connection ended within the body",
                401: "the key or the signature is missing or wrong",
                409: "this Idempotency-Key is in flight, or the signature was used before",
                422: "the input is wrong: one entry a field; or the Idempotency-Key had another body",
                503: "nothing was stored; try again",
            }
        ),
    },
}

#: The way to the dashboard.
ELSEWHERE: dict[str, Any] = {
    "status_code": 307,
    "summary": "The way to the live page",
    "response_class": RedirectResponse,
    "responses": {
        307: {
            "description": "it is at DASHBOARD_URL",
            "headers": {
                "Location": {
                    "description": "of the page",
                    "schema": {"type": "string", "examples": ["http://127.0.0.1:8082/dashboard/"]},
                }
            },
        }
    },
}

#: Both paths take the same.
_SIGNED = frozenset({("POST", "/events"), ("POST", "/api/v1/events")})
#: These ask no database.
_IN_MEMORY = frozenset(
    {
        ("GET", "/api/v1/event-types"),
        ("GET", "/api/v1/stats"),
        ("GET", "/api/v1/routes"),
        ("POST", "/api/v1/routes/test"),
    }
)
_TAGS = {
    "events": "Take events in: surely, once, and whoever posts them.",
    "messages": "One event for one recipient: find it, and see what became of it.",
    "tracking": "Follow and repair: live changes, dead letters, replays, whole stories.",
    "approvals": "Ask people, and hear the first answer.",
    "responses": "What people sent to the bot.",
    "routes": "Who gets an event that names nobody.",
    "chats": "How the people of a chat want to be reached.",
    "callbacks": "Programs that are told how messages end.",
    "keys": "Who may do what, and how fast.",
    "telegram": "For Telegram's servers.",
    "service": "What every service of the suite has.",
}
_ABOUT = """\
Events come in, are on disk before anybody is told so, and reach people on Telegram.

Every call but those of `service` and `telegram` wants `Authorization: Bearer KEY`; an operation names the
scope that the key needs. Events may be signed instead. Whatever is not as hoped for is answered by a problem
document (RFC 9457, `application/problem+json`), wrong input with one entry a field. Times are RFC 3339; ids
are texts.
"""


def install(app: FastAPI) -> None:
    """Completes the app's document, once it is made."""
    app.description = _ABOUT
    app.openapi_tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    openapi.after(app, _complete)


def _complete(document: openapi.Document) -> None:
    document["components"]["securitySchemes"]["Signature"] = {
        "type": "apiKey",
        "in": "header",
        "name": "X-CCTelegram-Signature",
        "description": "sha256= and the HMAC in hexadecimal, over X-CCTelegram-Timestamp, a dot and the "
        "body, with the secret of the signing key that X-CCTelegram-Key-Id names",
    }
    for method, path, operation in openapi.operations(document):
        # Each says by itself all that it can answer.
        del operation["responses"]["default"]
        if operation.get("security"):
            _name_scope(method, path, operation)
        else:
            operation["security"] = []


def _name_scope(method: str, path: str, operation: dict[str, Any]) -> None:
    scope = keys.scope_needed(method, path)
    named = [scope.value] if scope else []
    ways = [bearer.scheme_name, "Signature"] if (method, path) in _SIGNED else [bearer.scheme_name]
    operation["security"] = [{way: named} for way in ways]
    common = {429: "the key is over its rate, or its address failed too often"}
    if scope:
        common[403] = f"the key has no scope {scope.value}"
    if (method, path) not in _IN_MEMORY:
        common[503] = "the store is down, or too much is under way: try again"
    for status, answer in problems(common).items():
        operation["responses"].setdefault(str(status), answer)
