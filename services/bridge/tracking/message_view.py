"""A message's life, as the API tells it. Pure: from rows to JSON."""

from typing import Any

from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import WAITING, State
from services.outbox.queries.message_timeline import MessageTimeline


def summary(row: Any) -> dict[str, Any]:
    """One message in a list."""
    trace = TraceContext.parse(row["traceparent"])
    ids = row["telegram_message_ids"]
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
        "status": row["state"],
        "accepted_at": rfc3339(row["accepted_at"]),
        "finished_at": _time(row["finished_at"]),
        "next_attempt_at": _time(row["due_at"]) if row["state"] == State.RETRY_WAIT.value else None,
        "deliver_at": _time(row["due_at"]) if _has_a_time(row) else None,
        "quiet_until": _time(row["due_at"]) if row["held"] and row["state"] in WAITING else None,
        "expires_at": _time(row["expires_at"]),
        "attempts": row["attempts"],
        "possible_duplicate": row["possible_duplicate"],
        "correlation_id": row["correlation_id"],
        "trace_id": f"{trace.trace_id:032x}" if trace else None,
        "telegram_message_ids": [int(part) for part in ids.split(",")] if ids else [],
        "last_error": None if row["reason"] == "none" else row["reason"],
    }


def whole(life: MessageTimeline, trace_url: str) -> dict[str, Any]:
    """One message with every state change and every attempt."""
    row = life.message
    told = summary(row)
    return told | {
        "body": row["body"],
        "events": _changes(life),
        "attempts_made": row["attempts"],
        "attempts": [_attempt(attempt) for attempt in life.attempts],
        "links": {
            "event": f"/api/v1/events/{row['event_id']}",
            "trace": f"{trace_url}/trace/{told['trace_id']}" if trace_url else None,
        },
    }


def _changes(life: MessageTimeline) -> list[dict[str, Any]]:
    """Every state the message was in, and for how long; those by attempts are told from the attempts."""
    changes: list[tuple[float, str, str]] = []
    for attempt in life.attempts:
        number = attempt["number"]
        changes.append((attempt["claimed_at"], State.SENDING.value, f"attempt {number}"))
        if attempt["settled_at"] is not None:
            reason = attempt["reason"]
            cause = f"attempt {number}: {attempt['outcome']}" + ("" if reason == "none" else f" ({reason})")
            changes.append((attempt["settled_at"], str(attempt["state"]), cause))
    changes.extend((change["at"], change["state"], change["cause"]) for change in life.changes)
    # sorted() is stable: what happened in the same moment stays in the order told above. Whoever claimed
    # looked at its own clock, and perhaps a moment before the commit that it then found.
    accepted = (life.message["accepted_at"], State.QUEUED.value, "accepted")
    steps = (accepted, *sorted(changes, key=lambda change: change[0]))
    until = (*(at for at, _, _ in steps[1:]), None)
    return [
        {
            "at": rfc3339(at),
            "state": state,
            "cause": cause,
            "duration_ms": _milliseconds(at, end and max(at, end)),
        }
        for (at, state, cause), end in zip(steps, until, strict=True)
    ]


def _attempt(row: Any) -> dict[str, Any]:
    started, finished = row["started_at"], row["finished_at"]
    return {
        "number": row["number"],
        "part": row["part"] + 1,
        "claimed_at": rfc3339(row["claimed_at"]),
        "started_at": _time(started),
        "duration_ms": _milliseconds(started, finished),
        "limiter_wait_ms": round(row["limiter_wait"] * 1000, 1),
        "outcome": row["outcome"],
        "reason": row["reason"],
        "detail": row["detail"] or None,
        "retry_after_seconds": row["retry_after"],
        "telegram_message_id": row["telegram_message_id"],
    }


def _has_a_time(row: Any) -> bool:
    """Its client appointed it, and it was not tried yet."""
    return bool(row["state"] == State.QUEUED.value and row["due_at"] > 0 and not row["held"])


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _milliseconds(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else round((end - start) * 1000, 1)
