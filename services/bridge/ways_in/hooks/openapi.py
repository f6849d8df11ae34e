"""The OpenAPI document of the webhooks: their payloads are other products'."""

from typing import Any

from fastapi import Depends
from pydantic import BaseModel, Field

from services.bridge import openapi
from services.bridge.ways_in.openapi import REFUSALS
from services.contracts.events import Accepted
from services.contracts.templates import Preview
from services.kit.web import strict_request
from services.kit.web.auth import bearer
from services.kit.web.openapi import problems

Schema = dict[str, Any]
_BODY: Schema = {
    "required": True,
    "description": "the payload of the product",
    "content": {
        "application/json": {
            "schema": {"type": "object", "properties": {}, "examples": [{"msg": "the shop is down"}]}
        }
    },
}
SOURCE: Schema = {
    "description": "github, gitlab, grafana, sentry, healthchecks, uptime-kuma, or the name of a mapping",
    "json_schema_extra": {"pattern": "^[a-z0-9][a-z0-9_-]{0,63}$"},
    "examples": ["uptime-kuma"],
}
_REFUSALS = {**REFUSALS, **problems({404: "no source has this name", 415: "the type of the body is no JSON"})}
TAKING: Schema = {
    "status_code": 202,
    "summary": "Receive a webhook of another product",
    "response_model": Accepted,
    "dependencies": [Depends(bearer)],
    "openapi_extra": {
        "requestBody": _BODY,
        "parameters": openapi.HEADERS,
        strict_request.ANY_QUERY: True,
    },
    "responses": {202: openapi.STORED, **_REFUSALS},
}
PREVIEWING: Schema = {
    "summary": "Show the event of a webhook, and its text, without sending it",
    "openapi_extra": {"requestBody": _BODY},
    "responses": _REFUSALS,
}


class HookPreview(BaseModel):
    """What a webhook becomes."""

    event: dict[str, Any] = Field(
        description="the event, without defaults", examples=[{"type": "status_change", "title": "shop is up"}]
    )
    preview: Preview = Field(description="the text of its message")
