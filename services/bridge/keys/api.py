"""Keys over REST: create, list and revoke them with the scope ``keys:admin``."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from starlette.responses import Response

from services.bridge.keys import authenticate, keys, store
from services.bridge.keys.authenticate import Authenticator
from services.bridge.keys.keys import Key
from services.bridge.state import CallerKey, State
from services.contracts import times
from services.contracts.keys import KeyKind, Keys, KeyView, MadeKey, NewKey, Scope
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.field_errors import ErrorText
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])
caller_router = APIRouter(prefix="/api/v1/key", tags=["keys"])

_NOT_THERE = problems({404: "no key has this ID"})
_MADE: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "the key is valid now, in every replica",
        "headers": {
            "Location": {
                "description": "URL of the key",
                "schema": {"type": "string", "examples": ["/api/v1/keys/key_b0bcb4cdcac1dfba"]},
            }
        },
    },
    **problems({409: "the name is taken, or there are too many keys"}),
}


KeyId = Annotated[
    str,
    Path(pattern=r"^key_[0-9a-z]{1,32}$", description="ID of the key", examples=["key_b0bcb4cdcac1dfba"]),
    ErrorText("write the ID of a key, such as key_b0bcb4cdcac1dfba"),
]


@router.post("", status_code=201, summary="Create a key; its secret is shown once", responses=_MADE)
async def make(response: Response, state: State, maker: CallerKey, new: NewKey) -> MadeKey:
    """Only a digest of the secret is stored."""
    for scope in new.scopes:
        if scope not in maker.scopes:
            raise authenticate.missing(scope)
    now = state.clock.time()
    key, secret = made(new, maker.name, state.authenticator, now)
    await state.outbox.database.write("key_write", partial(store.add, key=key), notify=store.CHANNEL)
    await state.authenticator.ring.read(state.outbox.database)
    response.headers["Cache-Control"] = "no-store"
    response.headers["Location"] = f"/api/v1/keys/{key.id}"
    return MadeKey(secret=secret, **view(key, now).model_dump())


def made(new: NewKey, by: str, authenticator: Authenticator, now: float) -> tuple[Key, str]:
    """The key to store, and its secret.

    Raises:
        Problem: 422, ``expires_at`` has passed.
    """
    key_id = keys.new_id()
    secret = authenticator.ring.secret_of(key_id) if new.kind is KeyKind.SIGNING else keys.new_secret()
    expires_at = None
    if new.expires_at is not None:
        expires_at = times.at(new.expires_at, now)
        if expires_at <= now:
            raise invalid_input([{"loc": ["body", "expires_at"], "msg": "this time has passed"}])
    key = Key(
        id=key_id,
        name=new.name,
        kind=new.kind,
        digest=keys.digest_of(secret),
        scopes=frozenset(new.scopes),
        per_second=new.requests_per_second,
        created_at=now,
        created_by=by,
        expires_at=expires_at,
    )
    return key, secret


@router.get("", summary="List all keys, newest first; without secrets")
async def every(state: State) -> Keys:
    """Expired and revoked keys are listed too."""
    now = state.clock.time()
    return Keys(items=[view(key, now) for key in await state.outbox.database.read("keys", store.every)])


@caller_router.get("", summary="Read the key that makes this request")
async def read_own(state: State, caller: CallerKey) -> KeyView:
    """Any key may read itself, so that a program finds out what it may do."""
    return view(caller, state.clock.time())


@router.get("/{key_id}", summary="Read a key", responses=_NOT_THERE)
async def one(state: State, key_id: KeyId) -> KeyView:
    """The secret cannot be read again: only its digest is stored."""
    found = await state.outbox.database.read("keys", partial(store.one, key_id=key_id))
    if found is None:
        raise _unknown()
    return view(found, state.clock.time())


@router.delete("/{key_id}", status_code=204, summary="Revoke a key", responses=_NOT_THERE)
async def revoke(state: State, key_id: KeyId) -> None:
    """This replica refuses the key at once, the others within a second."""
    work = partial(store.revoke, key_id=key_id, now=state.clock.time())
    if not await state.outbox.database.write("key_write", work, notify=store.CHANNEL):
        raise _unknown()
    state.authenticator.ring.remove(key_id)


def _unknown() -> Problem:
    return Problem(404, "Not Found", "No key has this ID. The suite's own key cannot be revoked.")


def view(key: Key, now: float) -> KeyView:
    status: Literal["active", "expired", "revoked"] = (
        "active" if key.lives(now) else "expired" if key.revoked_at is None else "revoked"
    )
    return from_row(
        KeyView,
        id=key.id,
        name=key.name,
        kind=key.kind,
        scopes=[scope for scope in Scope if scope in key.scopes],
        status=status,
        requests_per_second=key.per_second,
        created_at=rfc3339(key.created_at),
        created_by=key.created_by,
        expires_at=_time(key.expires_at),
        last_used_at=_time(key.last_used_at),
        revoked_at=_time(key.revoked_at),
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
