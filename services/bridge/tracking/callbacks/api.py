"""The routes of callbacks: whom a key's messages are told of, and the calls of one message."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, StringConstraints
from sqlalchemy import Connection

from services.bridge.keys import keys
from services.bridge.state import State
from services.bridge.tracking.callbacks import store
from services.bridge.tracking.callbacks.store import Program
from services.bridge.webhooks import endpoints, signing
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.destinations import LONGEST_URL
from services.contracts.fields import A_TIME, AN_ID, Strict, Words, about
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1", tags=["callbacks"])

_NOT_THERE = problems({404: "this key has no callback"})
Name = Annotated[str, Path(pattern=rf"^{keys.NAME.pattern}$", description="name of a key", examples=["ci"])]


class NewCallback(Strict):
    """Whom to tell."""

    url: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_URL)],
        about("called once for each message of the key that ends", "https://ci.example/hooks/telegram"),
    ]


class CallbackView(BaseModel):
    """Whom a key's messages are told of, and whether they take it."""

    client: Annotated[str, about("name of the key", "ci")]
    url: Annotated[str, about("that is called", "https://ci.example/hooks/telegram")]
    created_at: Annotated[str, about("when it was set", A_TIME)]
    previous_secret_until: Annotated[
        str | None, about("until then the secret before signs as well: a call carries two signatures", A_TIME)
    ]
    failing_since: Annotated[
        str | None, about("the first of the calls that were not taken, if the last was not", A_TIME)
    ]
    disabled_at: Annotated[
        str | None,
        about("after five days of failing, or a 410; then one call a day tries, the others fail", A_TIME),
    ]
    last_error: Annotated[str | None, about("why the last call was not taken", "502 Bad Gateway")]


class MadeCallback(CallbackView):
    """The same, with the secret."""

    secret: Annotated[
        str,
        about("signs the calls by Standard Webhooks; shown this once", "whsec_C2FVsBQIhrscChlQIMV"),
    ]


class Callbacks(BaseModel):
    """All of them."""

    items: Annotated[list[CallbackView], about("by the name of the key")]


class CallView(BaseModel):
    """One program that is told of a message's end."""

    id: Annotated[str, about("the webhook-id of every attempt", AN_ID)]
    url: Annotated[str, about("that is called", "https://ci.example/hooks/telegram")]
    status: Annotated[webhooks.State, about("how it stands", "delivered")]
    attempts: Annotated[int, about("how many were made", 1)]
    last_error: Annotated[str | None, about("why the last one failed", "502 Bad Gateway")]
    created_at: Annotated[str, about("when the message ended", A_TIME)]
    finished_at: Annotated[str | None, about("when it was told, or given up", A_TIME)]
    next_attempt_at: Annotated[str | None, about("while it waits for another one", A_TIME)]


class Calls(BaseModel):
    """Who was told."""

    items: Annotated[list[CallView], about("none where nobody is told, or the message has not ended")]


@router.get("/callbacks", summary="Whom the keys' messages are told of, and whether they take it")
async def listed(state: State) -> Callbacks:
    """Their secrets are not told again."""
    rows, failing = await state.outbox.database.read("callbacks_find", _listed)
    now = state.clock.time()
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
async def put(state: State, client: Name, new: NewCallback) -> MadeCallback:
    """Each time with a new secret; for a day the one before signs as well. One that was disabled is not."""
    refusal = state.inbound.destinations.refusal(new.url)
    if refusal:
        raise invalid_input([{"loc": ["body", "url"], "msg": refusal}])
    program = Program(new.url, signing.new_secret())
    now = state.clock.time()
    work = partial(store.put, client=client, program=program, now=now)
    until = await state.outbox.database.write("callbacks", work)
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
async def drop(state: State, client: Name) -> None:
    """What is on its way is still told."""
    if not await state.outbox.database.write("callbacks", partial(store.drop, client=client)):
        raise Problem(404, "Not Found", "This key has no callback.")


@router.get("/messages/{message_id}/callbacks", summary="Who was told of the message's end, and how it went")
async def calls(
    state: State,
    message_id: Annotated[Words, Path(description="of the message", examples=[AN_ID])],
) -> Calls:
    """By the event's `callback_url`, its key's callback and STATUS_WEBHOOK_URL, each once."""
    rows = await state.outbox.database.read(
        "callbacks_find", partial(webhooks.of_subject, subject=message_id)
    )
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
