"""Calls that wait: written with what they tell about, taken one by one, kept with their attempts.

Taking a call moves its next time past the longest attempt. That is the lease: a worker that is
lost with it is succeeded by whoever finds the call due again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import uuid_utils
from sqlalchemy import Connection, delete, func, insert, literal_column, select, update

from services.bridge.webhooks.schema import webhook_attempt, webhook_call
from services.kit.telemetry import TraceContext

CHANNEL = "webhooks"


class State(StrEnum):
    WAITING = "waiting"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class NewCall:
    """What is to be told, and where.

    Args:
        kind: bounded, a metric label: ``approval``, ``message``.
        subject: id of what it tells about.
        url: checked by :class:`services.bridge.webhooks.destinations.Destinations`.
        body: JSON.
        trace: under which span the receiver shall work, or None.
        secret: of this destination; empty: the service's own.
    """

    kind: str
    subject: str
    url: str
    body: str
    trace: TraceContext | None = None
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    """A call that this worker makes now."""

    id: str
    kind: str
    url: str
    body: str
    secret: str
    traceparent: str | None
    created_at: float
    attempt: int


@dataclass(frozen=True, slots=True)
class Tried:
    """What an attempt came to, and what becomes of the call."""

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
            "id": str(uuid_utils.uuid7()),
            "kind": call.kind,
            "subject": call.subject,
            "url": call.url,
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
        connection.execute(insert(webhook_call), rows)
    return [str(row["id"]) for row in rows]


# As a literal: neither database uses a partial index for a parameter it cannot see.
_WAITING = webhook_call.c.state == literal_column("'waiting'")


def take(
    connection: Connection, limit: int, *, now: float, lease: float, but: Collection[str] = ()
) -> list[Call]:
    """Takes calls that are due, and opens an attempt of each.

    Args:
        connection: in a transaction.
        limit: how many at most.
        but: not to these URLs.
        now: seconds since the epoch.
        lease: seconds after which a call whose worker is lost is due again.
    """
    rows = connection.execute(
        select(webhook_call)
        .where(_WAITING, webhook_call.c.due_at <= now, webhook_call.c.url.not_in(but))
        .order_by(webhook_call.c.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    ).all()
    if not rows:
        return []
    connection.execute(
        update(webhook_call)
        .where(webhook_call.c.id.in_([row.id for row in rows]))
        .values(due_at=now + lease, attempts=webhook_call.c.attempts + 1)
    )
    connection.execute(
        insert(webhook_attempt),
        [{"call_id": row.id, "number": row.attempts + 1, "started_at": now} for row in rows],
    )
    return [
        Call(
            row.id, row.kind, row.url, row.body, row.secret, row.traceparent, row.created_at, row.attempts + 1
        )
        for row in rows
    ]


def next_due(connection: Connection, but: Collection[str] = ()) -> float | None:
    """When the next call is due, of those that do not go to some URLs."""
    query = select(func.min(webhook_call.c.due_at)).where(_WAITING, webhook_call.c.url.not_in(but))
    due: float | None = connection.execute(query).scalar()
    return due


def settle(connection: Connection, tried: Tried) -> None:
    """Writes what an attempt came to; the call's fate only where nobody has taken it over."""
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


def forget(connection: Connection, before: float, most: int) -> int:
    """Deletes a portion of the calls that ended, of those made before a time; answers how many."""
    # The ids begin with the time of their making, so this walks the primary key.
    made_before = f"{int(before * 1000):012x}"
    bound = f"{made_before[:8]}-{made_before[8:]}"
    ended = (webhook_call.c.id < bound, webhook_call.c.state != State.WAITING.value)
    old = select(webhook_call.c.id).where(*ended).order_by(webhook_call.c.id).limit(most)
    ids = connection.execute(old).scalars().all()
    connection.execute(delete(webhook_attempt).where(webhook_attempt.c.call_id.in_(ids)))
    connection.execute(delete(webhook_call).where(webhook_call.c.id.in_(ids)))
    return len(ids)


def of_subject(connection: Connection, subject: str) -> list[Any]:
    """The calls that tell about something, oldest first."""
    query = select(webhook_call).where(webhook_call.c.subject == subject).order_by(webhook_call.c.id)
    return list(connection.execute(query).mappings())


def attempts_of(connection: Connection, call_id: str) -> list[Any]:
    query = select(webhook_attempt).where(webhook_attempt.c.call_id == call_id)
    return list(connection.execute(query.order_by(webhook_attempt.c.number)).mappings())
