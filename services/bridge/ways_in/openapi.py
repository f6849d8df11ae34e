"""The OpenAPI document of the ways in: their bodies are no JSON models, so it is written here."""

from typing import Any

from fastapi import Depends

from services.bridge import openapi
from services.bridge.ways_in import send
from services.bridge.ways_in.draft import LONGEST_TEXT, LONGEST_TITLE
from services.contracts.events import Accepted
from services.contracts.fields import NO_NUL
from services.kit.web.auth import bearer
from services.kit.web.openapi import problems

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "maxLength": LONGEST_TEXT, "pattern": NO_NUL}
REFUSALS = problems(
    {
        400: "a header is invalid, or the body is not in the form that its type says",
        401: "the key is missing or unknown",
        409: "a request with this Idempotency-Key is in progress, or the signature was used before",
        422: "the input is invalid, one entry per field, in the client's own words",
        503: "nothing was stored; retry",
    }
)


def short(longest: int, example: str) -> Schema:
    """A text of so many characters."""
    return {"type": "string", "maxLength": longest, "pattern": NO_NUL, "examples": [example]}


def parameter(name: str, schema: Schema, description: str, place: str = "query") -> Schema:
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description}


_WORDS = (
    ("title", short(LONGEST_TITLE, "Backup"), "first line of the message; default: that of the text"),
    ("severity", {"enum": ["low", "medium", "high", "critical"], "examples": ["low"]}, "routes match it"),
    ("priority", {"enum": ["low", "normal", "high", "urgent"], "examples": ["normal"]}, "lane"),
    ("chat", {"type": "string", "pattern": "^-?[1-9][0-9]{0,14}$", "examples": ["1001"]}, "who gets it"),
    ("topic", short(100, "backup"), "source of the event; routes match it"),
    ("silent", {"type": "boolean", "examples": [False]}, "without a notification sound"),
)
_FIELDS = {"message": {**TEXT, "examples": ["done in 3 minutes"]}} | {name: one for name, one, _ in _WORDS}

SENDING: Schema = {
    "status_code": 202,
    "summary": "Send a plain text",
    "response_model": Accepted,
    "dependencies": [Depends(bearer)],
    "openapi_extra": {
        "parameters": [parameter(*one) for one in _WORDS] + openapi.HEADERS,
        "requestBody": {
            "required": False,
            "description": f"a text, or fields: {', '.join(sorted(send.NAMES))}",
            "content": {
                "text/plain": {"schema": {**TEXT, "examples": ["Backup done"]}},
                "multipart/form-data": {
                    "schema": {"type": "object", "additionalProperties": False, "properties": _FIELDS}
                },
            },
        },
    },
    "responses": {202: openapi.STORED, **REFUSALS},
}
