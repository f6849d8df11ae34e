"""Messages as the API shows them. Pure: from rows to contract models."""

from typing import Any

from services.contracts.messages import Attempt, Message, MessageDetail, MessageLinks, StateChange
from services.contracts.stored import from_row, number_of
from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import IN_DIGEST, WAITING, MessageState, is_scheduled
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.queries.message_timeline import MessageTimeline


def summary(row: Any) -> Message:
    """One message of a list."""
    return from_row(Message, **fields(row), attempts=row["attempts"])


def detail(life: MessageTimeline, trace_url: str) -> MessageDetail:
    """One message with every state change and every attempt."""
    return from_row(
        MessageDetail,
        **fields(life.message),
        **timeline(life, trace_url),
        body=life.message["body"],
        attempts=[_attempt(attempt) for attempt in life.attempts],
    )


def fields(row: Any) -> dict[str, Any]:
    """The fields that every view of a message has."""
    state, due_at = row["state"], rfc3339_or_none(row["due_at"])
    return {
        "id": row["id"],
        "event_id": row["event_id"],
        "type": row["type"],
        "category": row["category"],
        "title": row["title"],
        "source": row["source"],
        "severity": row["severity"],
        "chat_id": row["chat_id"],
        "thread_id": row["thread_id"],
        "bot": row["bot"],
        "status": state,
        "accepted_at": rfc3339(row["accepted_at"]),
        "finished_at": rfc3339_or_none(row["finished_at"]),
        "next_attempt_at": due_at if state == MessageState.RETRY_WAIT.value else None,
        "deliver_at": _deliver_at(row),
        "quiet_until": due_at if row["held"] and state in WAITING else None,
        "expires_at": rfc3339_or_none(row["expires_at"]),
        "possible_duplicate": row["possible_duplicate"],
        "correlation_id": row["correlation_id"],
        "trace_id": trace_id(row["traceparent"]),
        "telegram_message_ids": telegram_ids(row["telegram_message_ids"]),
        "last_error": None if row["reason"] == "none" else row["reason"],
    }


def timeline(life: MessageTimeline, trace_url: str) -> dict[str, Any]:
    """The fields of a message's timeline."""
    row = life.message
    trace = trace_id(row["traceparent"])
    return {
        "events": _changes(life),
        "attempts_made": row["attempts"],
        "links": MessageLinks(
            event=f"/api/v1/events/{row['event_id']}",
            trace=f"{trace_url}/trace/{trace}" if trace_url else None,
        ),
    }


def trace_id(traceparent: str) -> str | None:
    """The trace id of a ``traceparent`` header, 32 hexadecimal digits; None where it is none."""
    trace = TraceContext.parse(str(traceparent))
    return f"{trace.trace_id:032x}" if trace else None


def _changes(life: MessageTimeline) -> list[StateChange]:
    """Every state of the message and its duration; changes by attempts come from the attempts."""
    changes: list[tuple[float, str, str]] = []
    for attempt in life.attempts:
        number = attempt["number"]
        changes.append((attempt["claimed_at"], MessageState.SENDING.value, f"attempt {number}"))
        if attempt["settled_at"] is not None:
            # Of an attempt that was sent, the detail says that it was sent as plain text.
            why = attempt["detail"] if attempt["reason"] == "none" else attempt["reason"]
            cause = f"attempt {number}: {attempt['outcome']}" + (f" ({why})" if why else "")
            changes.append((attempt["settled_at"], str(attempt["state"]), cause))
    changes.extend((change["at"], change["state"], change["cause"]) for change in life.changes)
    # sorted() is stable: changes of one moment stay in the order above. A worker reads its clock before the
    # claim, so `claimed_at` may lie a moment before the commit of the message that it found.
    accepted = (life.message["accepted_at"], MessageState.QUEUED.value, "accepted")
    steps = (accepted, *sorted(changes, key=lambda change: number_of(change[0])))
    until = (*(at for at, _, _ in steps[1:]), None)
    return [
        from_row(
            StateChange,
            at=rfc3339(at),
            state=state,
            cause=cause,
            duration_ms=milliseconds(at, end and max(number_of(at), number_of(end))),
        )
        for (at, state, cause), end in zip(steps, until, strict=True)
    ]


def _attempt(row: Any) -> Attempt:
    started, finished = row["started_at"], row["finished_at"]
    return from_row(
        Attempt,
        number=row["number"],
        part=number_of(row["part"]) + 1,
        claimed_at=rfc3339(row["claimed_at"]),
        started_at=rfc3339_or_none(started),
        duration_ms=milliseconds(started, finished),
        limiter_wait_ms=milliseconds(0.0, row["limiter_wait"]),
        outcome=row["outcome"],
        reason=row["reason"],
        detail=row["detail"] or None,
        retry_after_seconds=row["retry_after"],
        telegram_message_id=row["telegram_message_id"],
    )


def _deliver_at(row: Any) -> str | None:
    """The ``deliver_at`` of its event or the end of its digest's window, while it waits for that."""
    due_at = number_of(row["due_at"])
    if row["state"] != MessageState.QUEUED.value or not is_scheduled(due_at) or row["held"]:
        return None
    at = due_at if due_at < IN_DIGEST else number_of(row["waits_from"])
    return rfc3339(at) if at < IN_DIGEST else None


def rfc3339_or_none(seconds: float | None) -> str | None:
    """A time as RFC 3339 text; None stays None."""
    return None if seconds is None else rfc3339(seconds)


def milliseconds(start: float | None, end: float | None) -> float | None:
    """The time between two moments in milliseconds; None if one of them is missing."""
    if start is None or end is None:
        return None
    return round((number_of(end) - number_of(start)) * 1000, 1)
