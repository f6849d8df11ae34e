"""The OpenAPI document of the ways in: their bodies are no JSON models, so it is written here."""

from typing import Any

from fastapi import Depends
from pydantic import BaseModel, Field

from services.bridge import openapi
from services.bridge.ways_in import send, topics
from services.bridge.ways_in.draft import LONGEST_TEXT, LONGEST_TITLE
from services.contracts.events import Accepted
from services.contracts.fields import AN_ID
from services.kit.field_errors import NO_NUL
from services.kit.web import strict_request
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
_FIELDS = {"message": {**TEXT, "description": "the text", "examples": ["done in 3 minutes"]}} | {
    name: {**one, "description": text} for name, one, text in _WORDS
}

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


class Published(BaseModel):
    """ntfy's answer to a publication that is on disk."""

    id: str = Field(description="ID of the event", examples=[AN_ID])
    time: int = Field(description="when it was taken, seconds since the epoch", examples=[1_769_846_400])
    event: str = Field(description="always message", examples=["message"])
    topic: str = Field(description="the topic", examples=["backup"])
    title: str = Field("", description="the given title", examples=["NAS"])
    message: str = Field("", description="the given text", examples=["Backup done"])
    priority: int = Field(0, description="the given priority, 1 to 5", examples=[3])
    tags: list[str] = Field([], description="the given tags", examples=[["tada"]])
    click: str = Field("", description="the given URL", examples=["https://nas.example/"])


#: Arguments of the path parameter; another name is answered as a path that no route has.
TOPIC: Schema = {
    "description": "topic; the source of the event",
    "json_schema_extra": {"pattern": topics.PATTERN},
    "examples": ["backup"],
}
TEXT_BODY: Schema = {
    "required": False,
    "description": "the text of the message",
    "content": {"text/plain": {"schema": {**TEXT, "examples": ["Backup done"]}}},
}
_LINK = short(2_048, "https://nas.example/")
JSON_BODY: Schema = {
    "required": True,
    "description": "ntfy's JSON form; other fields are ignored",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["topic"],
                "properties": {
                    "topic": {
                        "type": "string",
                        "pattern": topics.PATTERN,
                        "description": "the topic",
                        "examples": ["backup"],
                    },
                    "message": {**TEXT, "description": "the text", "examples": ["Backup done"]},
                    "title": {**short(LONGEST_TITLE, "NAS"), "description": "the title"},
                    "priority": {
                        "type": "integer",
                        "minimum": 0,
                        "maximum": 5,
                        "description": "1 to 5; 0: the default",
                        "examples": [3],
                    },
                    "tags": {
                        "type": "array",
                        "maxItems": 20,
                        "items": short(64, "tada"),
                        "description": "names of emojis, and other tags",
                        "examples": [["tada"]],
                    },
                    "click": {**_LINK, "description": "URL of a link"},
                    "attach": {**_LINK, "description": "URL of a file, shown as a link"},
                    "delay": {**short(64, "30m"), "description": "deliver later"},
                    "markdown": {
                        "type": "boolean",
                        "description": "whether the text is Markdown",
                        "examples": [False],
                    },
                },
            }
        }
    },
}
_OF_NTFY = [
    parameter("Title", short(LONGEST_TITLE, "NAS"), "title; also t", "header"),
    parameter("Priority", short(16, "default"), "1 to 5, or min, low, default, high, max", "header"),
    parameter("Tags", short(200, "tada"), "names of emojis, and other tags; with commas", "header"),
    parameter("Click", _LINK, "a link below the text", "header"),
    parameter("Actions", short(2_048, "view, Open, https://nas.example/"), "links of `view`", "header"),
    parameter("Attach", _LINK, "URL of a file, shown as a link", "header"),
    parameter("Delay", short(64, "30m"), "deliver later; also At, In", "header"),
]


def publishing(summary: str, body: Schema) -> Schema:
    """Arguments of a route of ntfy's."""
    return {
        "status_code": 200,
        "summary": summary,
        "response_model": Published,
        "dependencies": [Depends(bearer)],
        "openapi_extra": {
            "requestBody": body,
            "parameters": [*(_OF_NTFY if body is TEXT_BODY else ()), *openapi.HEADERS],
            strict_request.ANY_QUERY: True,
        },
        "responses": {
            200: {**openapi.STORED, "description": "the message is on disk"},
            **REFUSALS,
            **problems({404: "no topic can have this name", 405: "this is the path of another route"}),
        },
    }
