"""The webhook that Telegram calls, and what people sent."""

import hmac
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from services.bridge import long_poll
from services.bridge.bots import DEFAULT
from services.bridge.state import BridgeState, State
from services.bridge.updates import responses
from services.contracts.fields import A_TIME, BotName, Moment, about
from services.contracts.responses import Responses
from services.kit.errors import Problem
from services.kit.web.auth import Gate
from services.kit.web.openapi import problems

public = APIRouter(tags=["telegram"])
router = APIRouter(prefix="/api/v1", tags=["responses"])

_WEBHOOK_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"description": "it is stored, or was before; there is no body", "content": {}},
    **problems(
        {
            400: "this is no update",
            401: "the secret token is missing or wrong, or there is no such bot",
            429: "the address sent a wrong secret token too often",
            503: "nothing was stored; Telegram tries again",
        }
    ),
}
_WEBHOOK_EXTRA: dict[str, Any] = {
    "parameters": [
        {
            "name": "X-Telegram-Bot-Api-Secret-Token",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "examples": ["5f2b8c1e"]},
            "description": "as given to setWebhook",
        }
    ],
    "requestBody": {
        "required": True,
        "description": "Telegram's Update",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["update_id"],
                    "properties": {
                        "update_id": {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": 2**63 - 1,
                            "description": "of the update; a second one with the same is no news",
                            "examples": [10_000],
                        }
                    },
                }
            }
        },
    },
}


@public.post(
    "/telegram/webhook",
    summary="An update, from Telegram; answered once it is stored",
    response_class=Response,
    responses=_WEBHOOK_ANSWERS,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook(request: Request, state: State) -> Response:
    """For the default bot."""
    return await _take(request, state, DEFAULT)


@public.post(
    "/telegram/webhook/{bot}",
    summary="An update for one of several bots",
    response_class=Response,
    responses=_WEBHOOK_ANSWERS,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook_of(
    request: Request,
    state: State,
    bot: Annotated[BotName, Path(description="name of the bot", examples=["alerts"])],
) -> Response:
    """Each bot has its own path and its own secret."""
    return await _take(request, state, bot)


async def _take(request: Request, state: BridgeState, bot: str) -> Response:
    receiver = state.inbound.receivers.get(bot)
    given = request.headers.get("x-telegram-bot-api-secret-token", "")
    # A bot that is not there is answered as a wrong secret is: nobody learns the names.
    secret = state.bots[bot].webhook_secret if receiver else ""
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

    since: Annotated[Moment | None, about("received at or after", A_TIME)] = None
    correlation_id: Annotated[
        str | None, Query(max_length=128), about("of what they answer", "order-4711")
    ] = None
    bot: Annotated[BotName | None, about("that was spoken to", "default")] = None
    cursor: Annotated[int, Query(ge=0, le=2**53), about("`next_cursor` of the page before", 17)] = 0
    limit: Annotated[int, Query(ge=1, le=500), about("responses at most", 100)] = 100
    wait: Annotated[float, Query(ge=0, le=55), about("seconds to wait for one", 0.0)] = 0


@router.get(
    "/responses",
    summary="Texts, replies, taps and commands that people sent, oldest first",
)
async def list_responses(
    request: Request, state: State, asked: Annotated[ResponsesAsked, Query()]
) -> Responses:
    """Go on with ``next_cursor``; with ``wait`` an empty page is answered only after that time."""
    database = state.outbox.database
    try:
        since = asked.since.timestamp() if asked.since else None
    except (OverflowError, ValueError) as error:
        raise Problem(422, "Invalid input", "since is outside the calendar") from error

    async def look() -> list[Any]:
        return await database.read(
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

    rows = await long_poll.until(request, database, responses.CHANNEL, look, asked.wait)
    return Responses(
        items=[responses.view(row) for row in rows],
        next_cursor=str(rows[-1]["seq"] if rows else asked.cursor),
    )
