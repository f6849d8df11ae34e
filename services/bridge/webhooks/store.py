"""Webhook calls and their attempts: written with the fact that they report, claimed when they are due.

Claiming a call moves its due time past the longest attempt; that is its lease. If the worker is lost,
another one finds the call due again. Calls of one origin (scheme, host and port) share a limit, so that an
origin that hangs does not delay the others.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import uuid_utils
from sqlalchemy import Connection, bindparam, delete, literal_column, select, text, update

from services.bridge.webhooks import endpoints
from services.bridge.webhooks.schema import webhook_attempt, webhook_call
from services.kit.clock import rfc3339
from services.kit.database.connect import upsert
from services.kit.telemetry.telemetry import TraceContext

CHANNEL = "webhooks"
#: The endpoint will never accept a call again.
GONE = 410
#: More than any call has, and few enough for every database.
_MOST_ATTEMPTS = 1_000_000


class State(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewCall:
    """A call to store.

    Args:
        kind: ``approval`` or ``message``; also a metric label.
        subject: ID of the approval or message.
        url: checked by :class:`services.bridge.webhooks.destinations.Destinations`.
        body: JSON.
        trace: parent span for the receiver, or None.
        secret: of this destination, two while they are rotated; empty: the service's own secret.
        fact: what it reports and when that happened, seconds since the epoch: the same fact about a subject
            has the same call ID, also when it is reported again after a restore; None: it is not repeated.
    """

    kind: str
    subject: str
    url: str
    body: str
    trace: TraceContext | None = None
    secret: str = ""
    fact: tuple[str, float] | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A claimed call; ``refused`` says why it must not be made, or is empty."""

    id: str
    kind: str
    url: str
    origin: str
    body: str
    secret: str
    traceparent: str | None
    attempt: int
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Tried:
    """The result of an attempt, and the next state of its call."""

    call: Call
    state: State
    started_at: float
    finished_at: float
    status: int | None
    error: str
    due_at: float


def add(connection: Connection, calls: Sequence[NewCall], now: float) -> list[str]:
    """Writes calls in the caller's transaction; it wakes ``CHANNEL`` after the commit."""
    rows = [
        {
            "id": _id_of(call),
            "kind": call.kind,
            "subject": call.subject,
            "url": call.url,
            "origin": origin(call.url),
            "body": call.body,
            "secret": call.secret,
            "traceparent": call.trace.header() if call.trace else None,
            "state": State.WAITING.value,
            "created_at": now,
            "due_at": now,
        }
        for call in calls
    ]
    if rows:
        connection.execute(upsert(connection, webhook_call).on_conflict_do_nothing(), rows)
    return [str(row["id"]) for row in rows]


def _id_of(call: NewCall) -> str:
    """A UUIDv7: its time is now or that of the fact."""
    if call.fact is None:
        return str(uuid_utils.uuid7())
    what, at = call.fact
    digest = hashlib.sha256(f"{call.kind}\n{call.subject}\n{call.url}\n{what}".encode()).digest()
    whole = int.from_bytes(int(at * 1000).to_bytes(6) + digest[:10])
    version, variant = 7 << 76, 2 << 62
    return str(UUID(int=whole & ~(0xF << 76) & ~(3 << 62) | version | variant))


# As a literal: neither database uses a partial index for a parameter it cannot see.
_WAITING = webhook_call.c.state == literal_column("'waiting'")


def origin(url: str) -> str:
    """Scheme, host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def waiting(connection: Connection) -> dict[str, float]:
    """The origins with waiting calls, each with its next due time; one index step per origin."""
    found = connection.execute(_WAITING_FOR).tuples()
    # SQLite stores any type in any column: a call whose time is no number is never due.
    return {whom: due_at for whom, due_at in found if isinstance(due_at, int | float)}


_WAITING_FOR = text("""
WITH RECURSIVE known (origin) AS (
  SELECT min(origin) FROM webhook_call WHERE state = 'waiting'
  UNION ALL
  SELECT (SELECT min(origin) FROM webhook_call WHERE state = 'waiting' AND origin > known.origin)
  FROM known WHERE known.origin IS NOT NULL
)
SELECT known.origin,
  (SELECT min(due_at) FROM webhook_call WHERE state = 'waiting' AND webhook_call.origin = known.origin)
FROM known WHERE known.origin IS NOT NULL
""")


def take(connection: Connection, room: Mapping[str, int], *, now: float, lease: float) -> list[Call]:
    """Claims due calls, and opens an attempt of each.

    Args:
        connection: in a transaction.
        room: how many calls at most, by origin.
        now: seconds since the epoch.
        lease: seconds after which the call of a lost worker is due again.
    """
    rows = [row for whom, most in room.items() for row in _due(connection, whom, most, now)]
    if not rows:
        return []
    opened = [{"call_id": row.id, "number": _next_attempt(row.attempts), "started_at": now} for row in rows]
    connection.execute(
        update(webhook_call)
        .where(webhook_call.c.id == bindparam("call_id"))
        .values(due_at=now + lease, attempts=bindparam("number")),
        opened,
    )
    connection.execute(upsert(connection, webhook_attempt).on_conflict_do_nothing(), opened)
    urls = [str(row.url) for row in rows]
    disabled, probed = endpoints.disabled(connection, set(urls), now)
    calls = []
    for row, url, attempt in zip(rows, urls, opened, strict=True):
        finds_out = url in probed
        probed.discard(url)
        calls.append(_call(row, attempt["number"], None if finds_out else disabled.get(url)))
    return calls


def _next_attempt(attempts: object) -> int:
    """The number of the next attempt; 1 where the stored number cannot be."""
    return attempts + 1 if isinstance(attempts, int) and 0 <= attempts < _MOST_ATTEMPTS else 1


def _due(connection: Connection, whom: str, most: int, now: float) -> Sequence[Any]:
    due = (_WAITING, webhook_call.c.origin == whom, webhook_call.c.due_at <= now)
    query = select(webhook_call).where(*due).order_by(webhook_call.c.due_at).limit(most)
    return connection.execute(query.with_for_update(skip_locked=True)).all()


def _call(row: Any, attempt: int, disabled_at: float | None) -> Call:
    return Call(
        id=row.id,
        kind=str(row.kind),
        url=str(row.url),
        origin=row.origin,
        body=str(row.body),
        secret=str(row.secret),
        traceparent=row.traceparent if isinstance(row.traceparent, str) else None,
        attempt=attempt,
        refused="" if disabled_at is None else f"disabled since {rfc3339(disabled_at)}",
    )


def settle(connection: Connection, tried: Tried) -> bool:
    """Writes the result of an attempt, and the call's state unless another worker has claimed it since.

    Returns:
        Whether the endpoint is disabled by this result.
    """
    number = tried.call.attempt
    connection.execute(
        update(webhook_attempt)
        .where(webhook_attempt.c.call_id == tried.call.id, webhook_attempt.c.number == number)
        .values(
            started_at=tried.started_at,
            finished_at=tried.finished_at,
            status=tried.status,
            error=tried.error or None,
        )
    )
    ended = tried.state is not State.WAITING
    connection.execute(
        update(webhook_call)
        .where(webhook_call.c.id == tried.call.id, webhook_call.c.attempts == number)
        .values(
            state=tried.state.value,
            due_at=tried.due_at,
            finished_at=tried.finished_at if ended else None,
            last_error=tried.error or None,
        )
    )
    return _judged(connection, tried)


def _judged(connection: Connection, tried: Tried) -> bool:
    call = tried.call
    if call.refused:
        return False
    if tried.state is State.DELIVERED:
        endpoints.worked(connection, call.url)
        return False
    gone = tried.status == GONE
    return endpoints.failed(connection, call.url, tried.error, gone=gone, now=tried.finished_at)


def sign_too(connection: Connection, old: str, new: str) -> None:
    """Adds a new secret to the waiting calls that an old one signs."""
    signed = (_WAITING, webhook_call.c.secret.startswith(old, autoescape=True))
    connection.execute(update(webhook_call).where(*signed).values(secret=f"{new} {old}"))


def delete_old(connection: Connection, before: float, most: int) -> int:
    """Deletes a portion of the finished calls that were created before a time; returns how many.

    Endpoints that were last called before that time are deleted too.
    """
    endpoints.delete_old(connection, before)
    # IDs begin with their creation time (UUIDv7), so this walks the primary key.
    made_before = f"{int(before * 1000):012x}"
    bound = f"{made_before[:8]}-{made_before[8:]}"
    ended = (webhook_call.c.id < bound, webhook_call.c.state != State.WAITING.value)
    old = select(webhook_call.c.id).where(*ended).order_by(webhook_call.c.id).limit(most)
    ids = connection.execute(old).scalars().all()
    connection.execute(delete(webhook_attempt).where(webhook_attempt.c.call_id.in_(ids)))
    connection.execute(delete(webhook_call).where(webhook_call.c.id.in_(ids)))
    return len(ids)


def of_subject(connection: Connection, subject: str) -> list[Any]:
    """The calls about an approval or message, oldest first."""
    query = select(webhook_call).where(webhook_call.c.subject == subject).order_by(webhook_call.c.id)
    return list(connection.execute(query).mappings())


def attempts_of(connection: Connection, call_id: str) -> list[Any]:
    query = select(webhook_attempt).where(webhook_attempt.c.call_id == call_id)
    return list(connection.execute(query.order_by(webhook_attempt.c.number)).mappings())
