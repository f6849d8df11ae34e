"""Which scope a route asks for. Pure.

One table for all routes: what nobody has listed asks for the highest scope, so a new route is shut
until somebody decides.
"""

from services.bridge.keys.keys import Scope

_READS = frozenset({"GET", "HEAD", "OPTIONS"})
#: Beginning of a path -> scope of reading, scope of the rest; None: any key. The first that fits counts.
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


def listed(path: str) -> bool:
    """Whether somebody has decided about this path."""
    return any(_fits(path, beginning) for beginning, _, _ in _TABLE)


def needed(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: any key will do."""
    for beginning, reading, writing in _TABLE:
        if _fits(path, beginning):
            return reading if method in _READS else writing
    return Scope.KEYS_ADMIN


def _fits(path: str, beginning: str) -> bool:
    return path == beginning or path.startswith(beginning + "/")
