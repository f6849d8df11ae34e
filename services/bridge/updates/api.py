"""REST routes: the webhook that Telegram calls, the responses of people, and their files."""

import hmac
from functools import partial
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from services.bridge import long_poll
from services.bridge.bots import DEFAULT
from services.bridge.state import BridgeState, CallerKey, State
from services.bridge.updates import responses, sent_files
from services.contracts.fields import A_TIME, AN_ID, BotName, Moment, Words, about
from services.contracts.responses import Responses
from services.kit.errors import Problem
from services.kit.web.auth import BearerAuth
from services.kit.web.openapi import problems
from services.updates import batch as batches
from services.updates.batch import Batch

public = APIRouter(tags=["telegram"])
router = APIRouter(prefix="/api/v1", tags=["responses"])

_WEBHOOK_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "the update is stored, by this request or an earlier one; no body", "content": {}},
    **problems(
        {
            400: "the body is not an update",
            401: "the secret token is missing or wrong, or no bot has this name",
            429: "the address has sent a wrong secret token too often",
            503: "nothing was stored; Telegram repeats the request",
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
            "description": "the secret token that setWebhook was called with",
        }
    ],
    "requestBody": {
        "required": True,
        "description": "an Update of Telegram's Bot API",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["update_id"],
                    "properties": {
                        "update_id": {
                            "type": "integer",
                            "minimum": 0,
                            "maximum": batches.LARGEST_UPDATE_ID,
                            "description": "id of the update; a repeated one is ignored",
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
    summary="Receive an update from Telegram; responds once it is stored",
    response_class=Response,
    responses=_WEBHOOK_RESPONSES,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook(request: Request, state: State) -> Response:
    """For the default bot."""
    return await _store_update(request, state, DEFAULT)


@public.post(
    "/telegram/webhook/{bot}",
    summary="Receive an update from Telegram for one of several bots",
    response_class=Response,
    responses=_WEBHOOK_RESPONSES,
    openapi_extra=_WEBHOOK_EXTRA,
)
async def webhook_of(
    request: Request,
    state: State,
    bot: Annotated[BotName, Path(description="name of the bot", examples=["alerts"])],
) -> Response:
    """Each bot has a path and a secret token."""
    return await _store_update(request, state, bot)


async def _store_update(request: Request, state: BridgeState, bot: str) -> Response:
    receiver = state.inbound.receivers.get(bot)
    given = request.headers.get("x-telegram-bot-api-secret-token", "")
    # An unknown bot gets the same response as a wrong secret, so that names cannot be guessed.
    secret = state.bots[bot].webhook_secret if receiver else ""
    if receiver is None or not hmac.compare_digest(given.encode(), secret.encode()):
        auth: BearerAuth = request.app.state.bearer_auth
        raise auth.rejection(request, "X-Telegram-Bot-Api-Secret-Token is missing or wrong.")
    try:
        update = orjson.loads(await request.body())
    except orjson.JSONDecodeError as error:
        raise Problem(400, "Bad Request", f"The body is not JSON: {error}") from error
    checked = batches.checked(update)
    if checked.update is None:
        raise Problem(400, "Bad Request", "The body is not an update: update_id is missing or none.")
    await receiver.store(Batch((checked.update,), 0 if checked.readable else 1))
    return Response(status_code=200)


class ResponseFilter(BaseModel, extra="forbid"):
    """Which responses to list; all given conditions apply together."""

    since: Annotated[Moment | None, about("received at or after this time", A_TIME)] = None
    correlation_id: Annotated[
        Words | None, about("correlation id of the message that they answer", "order-4711")
    ] = None
    bot: Annotated[BotName | None, about("bot that received them", "default")] = None
    cursor: Annotated[int, Query(ge=0, le=2**53), about("`next_cursor` of the previous page", 17)] = 0
    limit: Annotated[int, Query(ge=1, le=500), about("maximum number of responses", 100)] = 100
    wait: Annotated[float, Query(ge=0, le=55), about("seconds to wait for a first response", 0.0)] = 0


@router.get(
    "/responses",
    summary="List the texts, files, replies, taps and commands of people, oldest first",
)
async def list_responses(
    request: Request, state: State, caller: CallerKey, filters: Annotated[ResponseFilter, Query()]
) -> Responses:
    """Pass `next_cursor` as `cursor` to read on. With `wait`, an empty page takes that long."""
    database = state.outbox.database
    since = filters.since.timestamp() if filters.since else None

    async def read_page() -> list[Any]:
        return await database.read(
            "read",
            lambda connection: responses.page(
                connection,
                since=since,
                correlation_id=filters.correlation_id,
                bot=filters.bot,
                after=filters.cursor,
                limit=filters.limit,
            ),
        )

    key = state.authenticator.ring.watch(caller)
    rows = await long_poll.wait_until(
        request, database, responses.CHANNEL, read_page, seconds=filters.wait, key=key
    )
    return Responses(
        items=[responses.view(row) for row in rows],
        next_cursor=str(rows[-1]["seq"] if rows else filters.cursor),
    )


@router.get(
    "/responses/{response_id}/file",
    summary="Read the file of a response, fetched from Telegram",
    response_class=Response,
    responses={
        200: {
            "description": "the file",
            "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(
            {
                404: "no response has this ID, it has no file, or Telegram has the file no longer",
                409: "the file is too large for the Bot API, or its bot is not configured any more",
                502: "Telegram cannot be reached, or gave another answer than the file",
            }
        ),
    },
)
async def read_file(
    state: State, response_id: Annotated[Words, Path(description="ID of the response", examples=[AN_ID])]
) -> Response:
    """Telegram's own servers give files of up to 20 MB. A browser saves the file instead of showing it."""
    found = await state.outbox.database.read("read", partial(responses.file_of, response_id=response_id))
    if found is None:
        raise Problem(404, "Not Found", "No response with a file has this ID.")
    return sent_files.response(found, await sent_files.opened(found, state.inbound.bot_clients))
