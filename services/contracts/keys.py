"""API keys as clients create them, and as the bridge returns them."""

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from services.contracts.fields import A_TIME, NoBool, Strict, about
from services.contracts.times import When
from services.kit.field_errors import ErrorText

#: Pattern of a key's name.
KEY_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
NAME_FORM = ErrorText("write up to 64 letters, digits and ._-; a letter or digit first")


class Scope(StrEnum):
    EVENTS_WRITE = "events:write"  #: post events
    MESSAGES_READ = "messages:read"  #: read messages, traces and statistics
    MESSAGES_WRITE = "messages:write"  #: cancel, replay
    APPROVALS_READ = "approvals:read"  #: read approvals and responses
    APPROVALS_WRITE = "approvals:write"  #: create, decide and cancel approvals
    ROUTES_READ = "routes:read"
    ROUTES_WRITE = "routes:write"
    CHATS_READ = "chats:read"
    CHATS_WRITE = "chats:write"
    KEYS_ADMIN = "keys:admin"  #: create and revoke keys


class KeyKind(StrEnum):
    BEARER = "bearer"  #: the secret itself is sent
    SIGNING = "signing"  #: the secret signs what is sent


class NewKey(Strict):
    """A key to create."""

    name: Annotated[
        Annotated[str, StringConstraints(pattern=rf"^{KEY_NAME}$"), NAME_FORM],
        about("name of the client; rates and idempotency keys are per name", "ci"),
    ]
    scopes: Annotated[
        Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))],
        about("scopes; a key cannot grant scopes it lacks", ["events:write", "messages:read"]),
    ]
    kind: Annotated[KeyKind, about("bearer: send the secret; signing: sign with it", "bearer")] = (
        KeyKind.BEARER
    )
    expires_at: Annotated[
        When | None, about("when the key expires: a time, or a duration such as 90d; unset: never", A_TIME)
    ] = None
    requests_per_second: Annotated[
        Annotated[float, Field(ge=0, le=1e6), NoBool] | None,
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
