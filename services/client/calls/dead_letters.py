"""Calls for messages that were given up, and for the jobs that replay many of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from services.client import call
from services.client.call import Call
from services.contracts.messages import DeadLetters, MessageState
from services.contracts.tracking import Job, Jobs

_DEAD_LETTERS = "/api/v1/dead-letters"
_JOBS = "/api/v1/jobs"


def dead_letters(
    *,
    reason: Sequence[str] = (),
    type: str | None = None,  # noqa: A002 - the API's name
    chat_id: int | None = None,
    bot: str | None = None,
    correlation_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    q: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Call[DeadLetters]:
    """Lists dead letters, newest first; all conditions must match.

    Args:
        reason: given up for one of these reasons, such as ``chat_not_found``.
        type: of the event.
        chat_id: the recipient.
        bot: that sent it.
        correlation_id: of the event.
        since: accepted at or after this time, which has a zone.
        until: accepted before this time, which has a zone.
        q: part of the title.
        cursor: ``next_cursor`` of the previous page.
        limit: largest number of messages, up to 500.
    """
    query: call.Query = {
        "reason": reason,
        "type": type,
        "chat_id": chat_id,
        "bot": bot,
        "correlation_id": correlation_id,
        "since": since,
        "until": until,
        "q": q,
        "cursor": cursor,
        "limit": limit,
    }
    return call.get(DeadLetters, _DEAD_LETTERS, query)


def replay_all(
    *,
    status: Sequence[MessageState] = ("dead_letter",),
    reason: Sequence[str] = (),
    type: str | None = None,  # noqa: A002 - the API's name
    chat_id: int | None = None,
    bot: str | None = None,
    correlation_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    q: str | None = None,
    why: str = "",
    key: str | None = None,
) -> Call[Job]:
    """Starts a job that replays all messages that match; without conditions: every dead letter.

    Args:
        status: final states of the messages to replay.
        reason: given up for one of these reasons.
        type: of the event.
        chat_id: the recipient.
        bot: that sent it.
        correlation_id: of the event.
        since: accepted at or after this time, which has a zone.
        until: accepted before this time, which has a zone.
        q: part of the title.
        why: shown with every message.
        key: Idempotency-Key; None: a new one.
    """
    conditions = call.given(
        type=type,
        chat_id=chat_id,
        bot=bot,
        correlation_id=correlation_id,
        since=since,
        until=until,
        q=q,
    )
    body = {"status": list(status), "reason": list(reason), "why": why, **conditions}
    return call.post(Job, f"{_DEAD_LETTERS}/replay", body, key=key or call.new_key())


def jobs(
    *,
    status: Literal["running", "done", "cancelled", "failed"] | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Call[Jobs]:
    """Lists jobs, newest first."""
    return call.get(Jobs, _JOBS, {"status": status, "cursor": cursor, "limit": limit})


def job(job_id: str) -> Call[Job]:
    """Reads a job and its progress."""
    return call.get(Job, call.path(f"{_JOBS}/{{}}", job_id))


def cancel_job(job_id: str) -> Call[Job]:
    """Stops a job; what was replayed stays replayed. `ConflictError`: it has ended."""
    return call.post(Job, call.path(f"{_JOBS}/{{}}/cancel", job_id), None)
