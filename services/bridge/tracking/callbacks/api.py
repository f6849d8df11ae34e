"""The routes of callbacks: whom a key's messages are told of, and the calls of one message."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, StringConstraints
from starlette.requests import Request

from services.bridge.keys import keys
from services.bridge.tracking.callbacks import store
from services.bridge.tracking.callbacks.store import Program
from services.bridge.webhooks import signing
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.destinations import LONGEST_URL, Destinations
from services.contracts.fields import Strict
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.outbox.engine import Outbox

router = APIRouter(prefix="/api/v1", tags=["callbacks"])

_NOT_THERE: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is none", "content": {"application/problem+json": {}}}
}
Name = Annotated[str, Path(pattern=rf"^{keys.NAME.pattern}$", description="name of a key")]


async def outbox_of(request: Request) -> Outbox:
    outbox: Outbox = request.state.outbox
    return outbox


Engine = Annotated[Outbox, Depends(outbox_of)]


class NewCallback(Strict):
    url: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)] = Field(
        description="called once for each message of the key that ends"
    )


class CallbackView(BaseModel):
    client: str = Field(description="name of the key")
    url: str
    created_at: str


class MadeCallback(CallbackView):
    secret: str = Field(description="whsec_…, signs the calls by Standard Webhooks; shown this once")


class Callbacks(BaseModel):
    items: list[CallbackView]


class CallView(BaseModel):
    id: str = Field(description="the webhook-id of every attempt")
    url: str
    status: webhooks.State
    attempts: int
    last_error: str | None
    created_at: str
    finished_at: str | None
    next_attempt_at: str | None


class Calls(BaseModel):
    items: list[CallView]


@router.get("/callbacks", summary="Whom the keys' messages are told of")
async def listed(outbox: Engine) -> Callbacks:
    rows = await outbox.database.read("callbacks_find", store.rows)
    return Callbacks(
        items=[CallbackView(**_told(row["client"], row["url"], row["created_at"])) for row in rows]
    )


@router.put("/callbacks/{client}", summary="Tell a program how a key's messages end")
async def put(request: Request, outbox: Engine, client: Name, new: NewCallback) -> MadeCallback:
    """Each time with a new secret; the one before is of no use from then on."""
    destinations: Destinations = request.state.webhook_destinations
    refusal = destinations.refusal(new.url)
    if refusal:
        raise invalid_input([{"loc": ["body", "url"], "msg": refusal}])
    program = Program(new.url, signing.new_secret())
    now = request.state.clock.time()
    await outbox.database.write("callbacks", partial(store.put, client=client, program=program, now=now))
    return MadeCallback(**_told(client, new.url, now), secret=program.secret)


@router.delete("/callbacks/{client}", status_code=204, summary="Tell it no more", responses=_NOT_THERE)
async def drop(outbox: Engine, client: Name) -> None:
    if not await outbox.database.write("callbacks", partial(store.drop, client=client)):
        raise Problem(404, "Not Found", "This key has no callback.")


def _told(client: str, url: str, created_at: float) -> dict[str, Any]:
    return {"client": client, "url": url, "created_at": rfc3339(created_at)}


@router.get("/messages/{message_id}/callbacks", summary="Who was told of the message's end, and how it went")
async def calls(outbox: Engine, message_id: Annotated[str, Path(max_length=64)]) -> Calls:
    rows = await outbox.database.read("callbacks_find", partial(webhooks.of_subject, subject=message_id))
    return Calls(items=[_call(row) for row in rows])


def _call(row: Any) -> CallView:
    waiting = row["state"] == webhooks.State.WAITING.value
    return CallView(
        id=row["id"],
        url=row["url"],
        status=webhooks.State(row["state"]),
        attempts=row["attempts"],
        last_error=row["last_error"],
        created_at=rfc3339(row["created_at"]),
        finished_at=None if row["finished_at"] is None else rfc3339(row["finished_at"]),
        next_attempt_at=rfc3339(row["due_at"]) if waiting else None,
    )
