"""The webhook that Telegram calls, and what people sent."""

import hmac
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel

from services.bridge import waiting
from services.bridge.bots import DEFAULT
from services.bridge.updates import responses
from services.bridge.updates.receiver import Receiver
from services.contracts.fields import BotName
from services.kit.auth import Gate
from services.kit.errors import Problem
from services.outbox.engine import Outbox

public = APIRouter(tags=["telegram"])
router = APIRouter(prefix="/api/v1", tags=["responses"])

_WEBHOOK_PROBLEMS: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/problem+json": {}}}
    for code, text in {
        400: "this is no update",
        401: "the secret token is missing or wrong",
        503: "nothing was stored; Telegram tries again",
    }.items()
}
_WEBHOOK_EXTRA: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Telegram-Bot-Api-Secret-Token",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "as given to setWebhook",
        }
    ],
    "requestBody": {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}},
}


@public.post(
    "/telegram/webhook",
    summary="An update, from Telegram; answered once it is stored",
    responses=_WEBHOOK_PROBLEMS,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook(request: Request) -> Response:
    """For the default bot."""
    return await _take(request, DEFAULT)


@public.post(
    "/telegram/webhook/{bot}",
    summary="An update for one of several bots",
    responses=_WEBHOOK_PROBLEMS,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook_of(request: Request, bot: BotName) -> Response:
    """Each bot has its own path and its own secret."""
    return await _take(request, bot)


async def _take(request: Request, bot: str) -> Response:
    receiver: Receiver | None = request.state.receivers.get(bot)
    given = request.headers.get("x-telegram-bot-api-secret-token", "")
    # A bot that is not there is answered as a wrong secret is: nobody learns the names.
    secret = request.state.bots[bot].webhook_secret if receiver else ""
    if receiver is None or not hmac.compare_digest(given.encode(), secret.encode()):
        gate: Gate = request.app.state.gate
        raise gate.refused(request, "X-Telegram-Bot-Api-Secret-Token is missing or wrong.")
    try:
        update = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "Bad Request", f"The body is no JSON: {error}") from error
    if not isinstance(update, dict) or not _is_id(update.get("update_id")):
        raise Problem(400, "Bad Request", "The body is no update: it has no update_id.")
    await receiver.keep([update])
    return Response(status_code=200)


def _is_id(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


class ResponsesAsked(BaseModel, extra="forbid"):
    """Which responses; all of it together."""

    since: AwareDatetime | None = None
    correlation_id: Annotated[str, Query(max_length=128)] | None = None
    bot: BotName | None = None
    cursor: Annotated[int, Query(ge=0, le=2**53, description="next_cursor of the page before")] = 0
    limit: Annotated[int, Query(ge=1, le=500)] = 100
    wait: Annotated[float, Query(ge=0, le=55, description="seconds to wait for one")] = 0


@router.get("/responses", summary="Texts, replies, taps and commands that people sent, oldest first")
async def list_responses(request: Request, asked: Annotated[ResponsesAsked, Query()]) -> dict[str, Any]:
    """Go on with ``next_cursor``; with ``wait`` an empty page is answered only after that time."""
    outbox: Outbox = request.state.outbox
    try:
        since = asked.since.timestamp() if asked.since else None
    except (OverflowError, ValueError) as error:
        raise Problem(422, "Invalid input", "since is outside the calendar") from error

    async def look() -> list[Any]:
        return await outbox.database.read(
            "read",
            lambda connection: responses.page(
                connection,
                since=since,
                correlation_id=asked.correlation_id,
                bot=asked.bot,
                after=asked.cursor,
                limit=asked.limit,
            ),
        )

    rows = await waiting.until(request, responses.CHANNEL, look, asked.wait)
    return {
        "items": [responses.told(row) for row in rows],
        "next_cursor": str(rows[-1]["seq"] if rows else asked.cursor),
    }
