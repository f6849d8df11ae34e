"""The bridge's OpenAPI document: what FastAPI cannot derive, and what all routes share.

Each operation names every status that it can answer, the scope that it needs, and whether a signature may
replace the key. The statuses of a single route are declared at the route.
"""

from typing import Any

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse

from services.bridge.events import accept, addressed
from services.bridge.keys import keys
from services.contracts.events import Accepted, AcceptedBatch
from services.contracts.fields import A_TRACE
from services.kit.web import openapi
from services.kit.web.auth import bearer
from services.kit.web.openapi import problems

_EVENT = {"$ref": "#/components/schemas/NewEvent"}
_BATCH = {"type": "array", "items": _EVENT, "minItems": 1, "maxItems": addressed.LARGEST_BATCH}
_AN_EVENT = {"type": "task_completion", "title": "Build finished", "source": "ci"}
_BODY = {
    "required": True,
    "description": "one event, or a list of up to 500 events, which is stored as a whole or not at all; or a "
    "form whose part `event` is one event and whose other parts are its files",
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
        },
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["event"],
                "properties": {
                    "event": {"allOf": [_EVENT], "description": "the event as JSON", "examples": [_AN_EVENT]},
                    "file": {
                        "type": "string",
                        "format": "binary",
                        "description": "a file of the event; up to ten, under any names",
                        "examples": ["the bytes of a file"],
                    },
                },
            },
            "encoding": {"event": {"contentType": "application/json"}},
        },
    },
}
HEADERS = [
    {"name": name, "in": "header", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        (
            "Idempotency-Key",
            {"type": "string", "minLength": 1, "maxLength": accept.LONGEST_KEY, "examples": ["build-7"]},
            "a repeated request with the same key and body gets the first answer again, for 24 hours",
        ),
        (
            "traceparent",
            {"type": "string", "examples": [f"00-{A_TRACE}-b7ad6b7169203331-01"]},
            "W3C trace context of the caller; the event joins its trace",
        ),
        (
            "X-Correlation-ID",
            {"type": "string", "examples": ["order-4711"]},
            "correlation ID of the event, 1 to 128 letters, digits and ._:/- ; anything else is ignored",
        ),
        (
            "X-CCTelegram-Key-Id",
            {"type": "string", "examples": ["key_b0bcb4cdcac1dfba"]},
            "signed requests: ID of the signing key",
        ),
        (
            "X-CCTelegram-Timestamp",
            {"type": "string", "examples": ["1769846400"]},
            "signed requests: seconds since the epoch, within 300 s of the server's clock",
        ),
    )
]
STORED = {
    "description": "the events are on disk",
    "headers": {
        "Idempotent-Replayed": {
            "description": "`true` if this is the first answer again",
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
    "summary": "Post one event, or a list of up to 500 events",
    "response_model": Accepted | AcceptedBatch,
    "dependencies": [Depends(bearer)],
    "openapi_extra": {"requestBody": _BODY, "parameters": HEADERS},
    "responses": {
        202: STORED,
        **problems(
            {
                400: "a header is invalid, or the connection ended within the body",
                401: "the key or the signature is missing or invalid",
                409: "a request with this Idempotency-Key is in progress, or the signature was used before",
                422: "the input is invalid, one entry per field; or the Idempotency-Key had another body",
                415: "the body is neither JSON nor a form; or the form is signed",
                413: "the body is larger than MAX_BODY_BYTES, or a file than MAX_FILE_BYTES",
                503: "nothing was stored; retry",
                507: "all files together have FILES_MAX_TOTAL_BYTES",
            }
        ),
    },
}

#: The redirect to the dashboard.
ELSEWHERE: dict[str, Any] = {
    "status_code": 307,
    "summary": "Redirect to the dashboard",
    "response_class": RedirectResponse,
    "responses": {
        307: {
            "description": "the dashboard is at DASHBOARD_URL",
            "headers": {
                "Location": {
                    "description": "URL of the dashboard",
                    "schema": {"type": "string", "examples": ["http://127.0.0.1:8082/dashboard/"]},
                }
            },
        }
    },
}

#: Operations that accept a signature instead of a key.
_WAYS_IN = frozenset(
    {("POST", "/send"), ("POST", "/hooks/{source}")}
    | {(way, path) for way in ("POST", "PUT") for path in ("/", "/{topic}")}
)
_SIGNED = frozenset({("POST", "/events"), ("POST", "/api/v1/events")}) | _WAYS_IN
#: Operations that accept the key as the password of HTTP Basic too.
_BASIC = _WAYS_IN
#: Operations that need no database.
_IN_MEMORY = frozenset(
    {
        ("GET", "/api/v1/event-types"),
        ("GET", "/api/v1/stats"),
        ("GET", "/api/v1/routes"),
    }
)
_TAGS = {
    "events": "Post events. An accepted event is on disk.",
    "ways in": "Other forms of request that become events, for programs that cannot send JSON of ours.",
    "files": "Upload files for the attachments of events.",
    "messages": "A message is one event for one recipient: search messages and read their timelines.",
    "tracking": "Follow and repair delivery: live changes, dead letters, replays, traces.",
    "approvals": "Ask people to decide; the first answer wins.",
    "responses": "Texts, files, replies, taps and commands that people sent to the bot.",
    "routes": "The recipients of events that name none.",
    "chats": "Settings of chats: name, time zone, quiet hours.",
    "callbacks": "Webhooks that report the final state of messages.",
    "keys": "API keys: scopes and rates of clients.",
    "telegram": "Called by Telegram's servers.",
    "service": "Routes that every service of the suite has.",
}
_ABOUT = """\
The bridge stores events before it answers, and delivers them to Telegram.

All operations except those of `service` and `telegram` need `Authorization: Bearer KEY`; each names the scope
that the key must have. Posted events may be signed instead. Errors are problem documents (RFC 9457,
`application/problem+json`); invalid input has one entry per field. Times are RFC 3339; IDs are strings.
"""


def install(app: FastAPI) -> None:
    """Completes the document when it is generated."""
    app.description = _ABOUT
    app.openapi_tags = [{"name": name, "description": text} for name, text in _TAGS.items()]
    openapi.after(app, _complete)


def _complete(document: openapi.Document) -> None:
    document["components"]["securitySchemes"]["Signature"] = {
        "type": "apiKey",
        "in": "header",
        "name": "X-CCTelegram-Signature",
        "description": "sha256= and the hexadecimal HMAC-SHA256 of X-CCTelegram-Timestamp, a dot and the "
        "body, with the secret of the signing key that X-CCTelegram-Key-Id names",
    }
    document["components"]["securitySchemes"]["Password"] = {
        "type": "http",
        "scheme": "basic",
        "description": "the key as the password, with any user name",
    }
    for method, path, operation in openapi.operations(document):
        # Each operation names every status itself.
        del operation["responses"]["default"]
        if operation.get("security"):
            _name_scope(method, path, operation)
        else:
            operation["security"] = []


def _name_scope(method: str, path: str, operation: dict[str, Any]) -> None:
    scope = keys.scope_needed(method, path)
    named = [scope.value] if scope else []
    ways = [bearer.scheme_name]
    ways += ["Signature"] if (method, path) in _SIGNED else []
    ways += ["Password"] if (method, path) in _BASIC else []
    operation["security"] = [{way: named} for way in ways]
    common = {429: "the key is over its rate, or its address failed to authenticate too often"}
    if scope:
        common[403] = f"the key lacks the scope {scope.value}"
    if (method, path) not in _IN_MEMORY:
        common[503] = "the database is down or overloaded; retry"
    for status, answer in problems(common).items():
        operation["responses"].setdefault(str(status), answer)
