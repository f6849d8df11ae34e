"""An API key: a client's name, its scopes, and a secret that is shown once. Pure."""

import hashlib
import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from dataclasses import dataclass

from services.contracts.keys import KEY_NAME, KeyKind, Scope

#: The suite's own key, created at the first start. It has every scope and cannot be revoked.
OWN_NAME = "default"
#: Client names that no new key may have: the suite's own key, the bridge and its folder intake.
RESERVED = frozenset({OWN_NAME, "bridge", "folder"})
NAME = re.compile(KEY_NAME)
MOST_KEYS = 1_000


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key; the secret itself is not stored.

    Args:
        id: public; sent with a signature.
        name: of the client; rates, fair sharing and idempotency keys are per name.
        kind: how the secret is used.
        digest: SHA-256 of the secret, hexadecimal.
        scopes: what the key may do.
        per_second: requests a second on average; None: RATE_LIMIT_PER_SECOND; 0: no limit.
        created_at: seconds since the epoch, like all times here.
        created_by: name of the key that created it.
        expires_at: the key is invalid from then on.
        last_used_at: accurate to about ten seconds.
        revoked_at: the key is invalid from then on.
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

    def sees_urls_of(self, client: str) -> bool:
        """Whether it may read whole webhook URLs of a client's events; they may carry a secret."""
        return self.name == client or Scope.KEYS_ADMIN in self.scopes

    def lives(self, now: float) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


def new_id() -> str:
    return f"key_{secrets.token_hex(8)}"


def new_secret() -> str:
    """256 random bits. Secret scanners and our log filter recognise the prefix."""
    return f"cct_{secrets.token_urlsafe(32)}"


def digest_of(secret: str) -> str:
    """The digest that is stored instead of a secret.

    Plain SHA-256 is enough: a slow password hash protects passwords that people choose, and these secrets
    are 256 random bits. It must be fast, since every request computes it.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def signing_secret(master: bytes, key_id: str) -> str:
    """The secret of a signing key, derived so that it need not be stored (docs/decisions/0006)."""
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


def of_product(name: str) -> Key:
    """A key without a secret, of a product whose requests were checked otherwise.

    Args:
        name: of the client; it has a colon, so no key of the API can have it.
    """
    return Key(
        id=name,
        name=name,
        kind=KeyKind.SIGNING,
        digest="",
        scopes=frozenset({Scope.EVENTS_WRITE}),
        per_second=None,
        created_at=0.0,
        created_by=OWN_NAME,
    )


def scopes_text(scopes: Iterable[Scope]) -> str:
    """Scopes as stored text: in the order of the enumeration, separated by spaces."""
    return " ".join(scope.value for scope in Scope if scope in set(scopes))


def scopes_of(text: str) -> frozenset[Scope]:
    """Scopes from stored text; unknown ones, written by a later version, are ignored."""
    return frozenset(Scope(word) for word in text.split() if word in set(Scope))


_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Prefix of a path, the scope for reading, the scope for anything else; None: any key. First match counts.
#: A path that is not listed needs the highest scope, so a new route is closed until it is added here.
_TABLE: tuple[tuple[str, Scope | None, Scope | None], ...] = (
    ("/events", None, Scope.EVENTS_WRITE),
    ("/send", None, Scope.EVENTS_WRITE),
    ("/hooks", None, Scope.EVENTS_WRITE),
    ("/api/v1/hooks", Scope.EVENTS_WRITE, Scope.EVENTS_WRITE),
    ("/", None, Scope.EVENTS_WRITE),
    # Any topic: the template of the route in the OpenAPI document.
    ("/{topic}", None, Scope.EVENTS_WRITE),
    ("/api/v1/events", Scope.MESSAGES_READ, Scope.EVENTS_WRITE),
    ("/api/v1/files", Scope.MESSAGES_READ, Scope.EVENTS_WRITE),
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
    # The dry run of the routes changes nothing.
    ("/api/v1/routes/test", Scope.ROUTES_READ, Scope.ROUTES_READ),
    ("/api/v1/routes", Scope.ROUTES_READ, Scope.ROUTES_WRITE),
    # A preview stores and sends nothing.
    ("/api/v1/templates", Scope.ROUTES_READ, Scope.ROUTES_READ),
    ("/api/v1/bots", Scope.CHATS_READ, Scope.CHATS_WRITE),
    ("/api/v1/chats", Scope.CHATS_READ, Scope.CHATS_WRITE),
    # A callback's URL may carry a secret, and the answer to a new callback contains one.
    ("/api/v1/callbacks", Scope.KEYS_ADMIN, Scope.KEYS_ADMIN),
    ("/api/v1/key", None, Scope.KEYS_ADMIN),
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
