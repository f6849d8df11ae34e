"""A key: a name, what it may do, and a secret that is shown once. Pure."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

#: The suite's own key, made at the first start: it may do everything, and cannot be revoked.
OWN_NAME = "default"
#: Names of clients that are no keys: the bridge itself, and its folder.
RESERVED = frozenset({OWN_NAME, "bridge", "folder"})
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MOST_KEYS = 1_000


class Scope(StrEnum):
    EVENTS_WRITE = "events:write"  #: post events
    MESSAGES_READ = "messages:read"  #: messages, traces, numbers
    MESSAGES_WRITE = "messages:write"  #: cancel, replay
    APPROVALS_READ = "approvals:read"  #: questions and what people answered
    APPROVALS_WRITE = "approvals:write"  #: ask, decide, cancel
    ROUTES_READ = "routes:read"
    ROUTES_WRITE = "routes:write"
    CHATS_READ = "chats:read"
    CHATS_WRITE = "chats:write"
    KEYS_ADMIN = "keys:admin"  #: make and revoke keys


class Kind(StrEnum):
    BEARER = "bearer"  #: the secret itself is sent
    SIGNING = "signing"  #: the secret signs what is sent


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is kept; its secret is not.

    Args:
        id: public, sent with a signature.
        name: of the client; idempotency keys, rates and turns are counted by it.
        kind: how the secret is used.
        digest: SHA-256 of the secret, hexadecimal.
        scopes: what it may do.
        per_second: requests a second, on average; None: as RATE_LIMIT_PER_SECOND; 0: no limit.
        created_at: seconds since the epoch, as all times.
        created_by: name of the key that made it.
        expires_at: from then on it is not known any more.
        last_used_at: to about ten seconds.
        revoked_at: from then on it is not known any more.
    """

    id: str
    name: str
    kind: Kind
    digest: str
    scopes: frozenset[Scope]
    per_second: float | None
    created_at: float
    created_by: str
    expires_at: float | None = None
    last_used_at: float | None = None
    revoked_at: float | None = None

    def lives(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_id() -> str:
    return f"key_{secrets.token_hex(8)}"


def new_secret() -> str:
    """256 random bits; the prefix lets scanners and our own log filter know it."""
    return f"cct_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """What is kept of a secret.

    Plain SHA-256, not a slow password hash: those make guessing of what people choose dear, and these
    secrets are 256 random bits that nobody can guess. It has to be fast, since each request is looked
    up by it.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def signing_secret(master: bytes, key_id: str) -> str:
    """The secret of a signing key: derived, so that none has to be stored (docs/decisions/0006)."""
    derived = hmac.digest(master, b"cctelegram signing key " + key_id.encode(), "sha256")
    return f"cct_sig_{urlsafe_b64encode(derived).decode().rstrip('=')}"


def own(secret: str) -> Key:
    """The suite's own key."""
    return Key(
        id="key_default",
        name=OWN_NAME,
        kind=Kind.BEARER,
        digest=digest_of(secret),
        scopes=ALL_SCOPES,
        per_second=None,
        created_at=0.0,
        created_by=OWN_NAME,
    )


def scopes_text(scopes: Iterable[Scope]) -> str:
    """In the order of the enumeration, with spaces between."""
    return " ".join(scope.value for scope in Scope if scope in set(scopes))


def scopes_of(text: str) -> frozenset[Scope]:
    """The reverse; scopes that a later version wrote are left out, so they open nothing here."""
    return frozenset(Scope(word) for word in text.split() if word in set(Scope))
