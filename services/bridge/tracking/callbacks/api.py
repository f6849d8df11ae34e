"""The routes of callbacks: whom a key's messages are told of, and the calls of one message."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection
from starlette.requests import Request

from services.bridge.keys import keys
from services.bridge.tracking.callbacks import store
from services.bridge.tracking.callbacks.store import Program
from services.bridge.webhooks import endpoints, signing
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
    previous_secret_until: str | None = Field(
        description="until then the secret before signs as well: a call carries two signatures"
    )
    failing_since: str | None = Field(
        description="the first of the calls that were not taken, if the last was not"
    )
    disabled_at: str | None = Field(
        description="after five days of failing, or a 410; since then one call a day tries, the others fail"
    )
    last_error: str | None


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


@router.get("/callbacks", summary="Whom the keys' messages are told of, and whether they take it")
async def listed(request: Request, outbox: Engine) -> Callbacks:
    rows, failing = await outbox.database.read("callbacks_find", _listed)
    now = request.state.clock.time()
    return Callbacks(items=[_view(row, failing.get(row["url"]), now) for row in rows])


def _listed(connection: Connection) -> tuple[list[Any], Mapping[str, Any]]:
    rows = store.rows(connection)
    return rows, endpoints.failing(connection, {row["url"] for row in rows})


def _view(row: Any, failing: Any | None, now: float) -> CallbackView:
    until = row["previous_until"]
    return CallbackView(
        client=row["client"],
        url=row["url"],
        created_at=rfc3339(row["created_at"]),
        previous_secret_until=rfc3339(until) if now < until else None,
        failing_since=_time(failing and failing["failing_since"]),
        disabled_at=_time(failing and failing["disabled_at"]),
        last_error=failing and failing["last_error"],
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


@router.put("/callbacks/{client}", summary="Tell a program how a key's messages end")
async def put(request: Request, outbox: Engine, client: Name, new: NewCallback) -> MadeCallback:
    """Each time with a new secret; for a day the one before signs as well. One that was disabled is not."""
    destinations: Destinations = request.state.webhook_destinations
    refusal = destinations.refusal(new.url)
    if refusal:
        raise invalid_input([{"loc": ["body", "url"], "msg": refusal}])
    program = Program(new.url, signing.new_secret())
    now = request.state.clock.time()
    work = partial(store.put, client=client, program=program, now=now)
    until = await outbox.database.write("callbacks", work)
    return MadeCallback(
        client=client,
        url=new.url,
        created_at=rfc3339(now),
        previous_secret_until=_time(until),
        failing_since=None,
        disabled_at=None,
        last_error=None,
        secret=program.secret,
    )


@router.delete("/callbacks/{client}", status_code=204, summary="Tell it no more", responses=_NOT_THERE)
async def drop(outbox: Engine, client: Name) -> None:
    if not await outbox.database.write("callbacks", partial(store.drop, client=client)):
        raise Problem(404, "Not Found", "This key has no callback.")


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
        finished_at=_time(row["finished_at"]),
        next_attempt_at=rfc3339(row["due_at"]) if waiting else None,
    )
