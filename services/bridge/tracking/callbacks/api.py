"""Routes of callbacks, the webhooks that report the final state of messages.

They list, set and delete the callback of an API key, and list the calls of a message.
"""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path
from sqlalchemy import Connection, select

from services.bridge.keys import authenticate, keys
from services.bridge.keys.keys import Key
from services.bridge.state import CallerKey, State
from services.bridge.tracking.callbacks import store
from services.bridge.tracking.callbacks.store import Program
from services.bridge.webhooks import endpoints
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.visible_url import visible_url
from services.contracts.callbacks import Callbacks, CallbackView, Calls, CallView, MadeCallback, NewCallback
from services.contracts.fields import AN_ID, Words
from services.contracts.keys import NAME_FORM, Scope
from services.contracts.stored import from_row, number_of
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.web import webhook_signatures
from services.kit.web.openapi import problems
from services.outbox.schema import message

router = APIRouter(prefix="/api/v1", tags=["callbacks"])

_NOT_YOURS = problems({403: "the key lacks a scope, or the callback is that of the suite's own key"})
_NOT_THERE = problems({404: "the key has no callback"}) | _NOT_YOURS
Name = Annotated[
    str,
    Path(pattern=rf"^{keys.NAME.pattern}$", description="name of a key", examples=["ci"]),
    NAME_FORM,
]


@router.get("/callbacks", summary="List the callbacks of all keys")
async def listed(state: State) -> Callbacks:
    """Returns all callbacks, without their secrets."""
    rows, failing = await state.outbox.database.read("callbacks_find", _listed)
    now = state.clock.time()
    return Callbacks(items=[_view(row, failing.get(row["url"]), now) for row in rows])


def _listed(connection: Connection) -> tuple[list[Any], Mapping[str, Any]]:
    rows = store.rows(connection)
    return rows, endpoints.failing(connection, {row["url"] for row in rows})


def _view(row: Any, failing: Any | None, now: float) -> CallbackView:
    until = row["previous_until"]
    return from_row(
        CallbackView,
        client=row["client"],
        url=row["url"],
        created_at=rfc3339(row["created_at"]),
        previous_secret_until=rfc3339(until) if now < number_of(until) else None,
        failing_since=_time(failing and failing["failing_since"]),
        disabled_at=_time(failing and failing["disabled_at"]),
        last_error=failing and failing["last_error"],
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


@router.put("/callbacks/{client}", summary="Set the callback of a key", responses=_NOT_YOURS)
async def put(state: State, caller: CallerKey, client: Name, new: NewCallback) -> MadeCallback:
    """Sets the URL, with a new secret, and enables a disabled callback. For a day, both secrets sign.

    The calls report the client's messages, so the scope `messages:read` is needed too. Only the suite's own
    key changes its own callback.
    """
    if Scope.MESSAGES_READ not in caller.scopes:
        raise authenticate.missing(Scope.MESSAGES_READ)
    _check_owner(caller, client)
    refusal = state.inbound.destinations.refusal(new.url)
    if refusal:
        raise invalid_input([{"loc": ["body", "url"], "msg": refusal}])
    program = Program(new.url, webhook_signatures.new_secret())
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


@router.delete(
    "/callbacks/{client}", status_code=204, summary="Delete the callback of a key", responses=_NOT_THERE
)
async def delete_callback(state: State, caller: CallerKey, client: Name) -> None:
    """Calls that are queued already are still made. Only the suite's own key deletes its own callback."""
    _check_owner(caller, client)
    if not await state.outbox.database.write("callbacks", partial(store.delete_callback, client=client)):
        raise Problem(404, "Not Found", "The key has no callback.")


def _check_owner(caller: Key, client: str) -> None:
    """The callback of the suite's own key, and of the events that the bridge makes itself, is that key's."""
    if client in keys.RESERVED and caller.name != keys.OWN_NAME:
        raise Problem(403, "Not yours", f"Only the suite's own key changes the callback of {client}.")


@router.get(
    "/messages/{message_id}/callbacks",
    summary="List the webhook calls of a message",
    responses=problems({404: "no message has this ID"}),
)
async def calls(
    state: State,
    caller: CallerKey,
    message_id: Annotated[Words, Path(description="ID of the message", examples=[AN_ID])],
) -> Calls:
    """At most one call to each of: the event's `callback_url`, its key's callback, STATUS_WEBHOOK_URL.

    URLs have scheme, host and port only, unless the key has the scope `keys:admin`.
    """
    rows = await state.outbox.database.read("callbacks_find", partial(_calls, message_id=message_id))
    if rows is None:
        raise Problem(404, "Not Found", "No message has this ID.")
    sees_all = Scope.KEYS_ADMIN in caller.scopes
    return Calls(items=[_call(row, row["url"] if sees_all else visible_url(row["url"])) for row in rows])


def _calls(connection: Connection, message_id: str) -> list[Any] | None:
    """The calls of a message; None if there is no message."""
    there = connection.execute(select(message.c.id).where(message.c.id == message_id)).first()
    return None if there is None else webhooks.of_subject(connection, message_id)


def _call(row: Any, url: str) -> CallView:
    waiting = row["state"] == webhooks.State.WAITING.value
    return from_row(
        CallView,
        id=row["id"],
        url=url,
        status=row["state"],
        attempts=row["attempts"],
        last_error=row["last_error"],
        created_at=rfc3339(row["created_at"]),
        finished_at=_time(row["finished_at"]),
        next_attempt_at=rfc3339(row["due_at"]) if waiting else None,
    )
