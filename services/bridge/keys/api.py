"""Keys over REST: create, list and revoke them with the scope ``keys:admin``."""

from functools import partial
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field, StringConstraints, model_validator
from starlette.responses import Response

from services.bridge.keys import authenticate, keys, store
from services.bridge.keys.authenticate import Authenticator
from services.bridge.keys.keys import Key, KeyKind, Scope
from services.bridge.state import CallerKey, State
from services.contracts.fields import A_TIME, Moment, Strict, about
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems

router = APIRouter(prefix="/api/v1/keys", tags=["keys"])

_NOT_THERE = problems({404: "no key has this ID"})
_MADE: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "the key is valid in this replica now, in the others within a second",
        "headers": {
            "Location": {
                "description": "URL of the key",
                "schema": {"type": "string", "examples": ["/api/v1/keys/key_b0bcb4cdcac1dfba"]},
            }
        },
    },
    **problems({409: "the name is taken, or there are too many keys"}),
}


class NewKey(Strict):
    """A key to create."""

    name: Annotated[
        Annotated[str, StringConstraints(pattern=rf"^{keys.NAME.pattern}$")],
        about("name of the client; rates and idempotency keys are per name", "ci"),
    ]
    scopes: Annotated[
        Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))],
        about("scopes; a key cannot grant scopes it lacks", ["events:write", "messages:read"]),
    ]
    kind: Annotated[KeyKind, about("bearer: send the secret; signing: sign with it", "bearer")] = (
        KeyKind.BEARER
    )
    expires_at: Annotated[Moment | None, about("when the key expires; unset: never", A_TIME)] = None
    requests_per_second: Annotated[
        Annotated[float, Field(ge=0, le=1e6)] | None,
        about("rate limit per replica; unset: RATE_LIMIT_PER_SECOND; 0: no limit", 10.0),
    ] = None

    @model_validator(mode="after")
    def _signable(self) -> Self:
        if self.kind is KeyKind.SIGNING and set(self.scopes) != {Scope.EVENTS_WRITE}:
            raise ValueError("a signing key has exactly the scope events:write")
        return self


class KeyView(BaseModel):
    """A key, without its secret."""

    id: Annotated[str, about("ID of the key; signed requests name it", "key_b0bcb4cdcac1dfba")]
    name: Annotated[str, about("name of the client", "ci")]
    kind: Annotated[KeyKind, about("how its secret is used", "bearer")]
    scopes: Annotated[list[Scope], about("scopes of the key", ["events:write"])]
    status: Annotated[Literal["active", "expired", "revoked"], about("whether it is valid", "active")]
    requests_per_second: Annotated[float | None, about("rate limit; null: RATE_LIMIT_PER_SECOND", 10.0)]
    created_at: Annotated[str, about("when it was created", A_TIME)]
    created_by: Annotated[str, about("key that created it; `terminal` for the command", "default")]
    expires_at: Annotated[str | None, about("when it expires; null: never", A_TIME)]
    last_used_at: Annotated[str | None, about("last use, to about 10 seconds; null: never used", A_TIME)]
    revoked_at: Annotated[str | None, about("when it was revoked; null: it was not", A_TIME)]


class MadeKey(KeyView):
    """A key with its secret."""

    secret: Annotated[str, about("the secret; it is shown only once", "cct_0eIRcXzkuHjo6wRL")]


class Keys(BaseModel):
    """All keys, also expired and revoked ones, newest first."""

    items: Annotated[list[KeyView], about("the keys, without secrets")]


KeyId = Annotated[
    str,
    Path(pattern=r"^key_[0-9a-z]{1,32}$", description="ID of the key", examples=["key_b0bcb4cdcac1dfba"]),
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
        expires_at = new.expires_at.timestamp()
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
    return KeyView(
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
