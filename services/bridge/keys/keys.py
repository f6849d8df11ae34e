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


class KeyKind(StrEnum):
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
    kind: KeyKind
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
        kind=KeyKind.BEARER,
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


_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Prefix of a path, the scope for reading, the scope for anything else; None: any key. First match counts.
#: A path that is not listed needs the highest scope, so a new route is closed until it is added here.
_TABLE: tuple[tuple[str, Scope | None, Scope | None], ...] = (
    ("/events", None, Scope.EVENTS_WRITE),
    ("/api/v1/events", Scope.MESSAGES_READ, Scope.EVENTS_WRITE),
    ("/api/v1/event-types", None, None),
    ("/api/v1/messages", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/dead-letters", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/jobs", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/replays", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/archive", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/traces", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/stats", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/stream", Scope.MESSAGES_READ, Scope.MESSAGES_WRITE),
    ("/api/v1/approvals", Scope.APPROVALS_READ, Scope.APPROVALS_WRITE),
    ("/api/v1/responses", Scope.APPROVALS_READ, Scope.APPROVALS_WRITE),
    # The dry run of routes changes nothing.
    ("/api/v1/routes/test", Scope.ROUTES_READ, Scope.ROUTES_READ),
    ("/api/v1/routes", Scope.ROUTES_READ, Scope.ROUTES_WRITE),
    ("/api/v1/chats", Scope.CHATS_READ, Scope.CHATS_WRITE),
    # A URL may carry a secret, and the answer to a new one does.
    ("/api/v1/callbacks", Scope.KEYS_ADMIN, Scope.KEYS_ADMIN),
    ("/api/v1/keys", Scope.KEYS_ADMIN, Scope.KEYS_ADMIN),
)


def is_listed(path: str) -> bool:
    """Whether the table has an entry for this path."""
    return any(_has_prefix(path, prefix) for prefix, _, _ in _TABLE)


def scope_needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None if any key will do."""
    for prefix, reading, writing in _TABLE:
        if _has_prefix(path, prefix):
            return reading if method in _READS else writing
    return Scope.KEYS_ADMIN


def _has_prefix(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(prefix + "/")
