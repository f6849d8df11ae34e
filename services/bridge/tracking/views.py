"""A message's life and a correlation's story, as the API tells them. Pure: from rows to JSON."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from services.bridge.tracking import message_view
from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.change_feed import Change
from services.outbox.messages import State
from services.outbox.queries.message_timeline import MessageTimeline


def change(of: Change) -> dict[str, Any]:
    """One change, as the stream tells it."""
    row = of.message
    return {
        "message_id": row["id"],
        "event_id": row["event_id"],
        "type": row["type"],
        "category": row["category"],
        "title": row["title"],
        "source": row["source"],
        "severity": row["severity"],
        "chat_id": row["chat_id"],
        "bot": row["bot"],
        "status": of.state,
        "attempt": of.attempt or None,
        "cause": of.cause or None,
        "at": rfc3339(of.at),
        "accepted_at": rfc3339(row["accepted_at"]),
        "correlation_id": row["correlation_id"],
        "trace_id": _trace_id(row["traceparent"]),
    }


def _trace_id(header: str) -> str | None:
    trace = TraceContext.parse(header)
    return f"{trace.trace_id:032x}" if trace else None


def life(of: MessageTimeline, now: float, trace_url: str) -> dict[str, Any]:
    """A message as it stands: in which state since when, and how it came there."""
    whole = message_view.whole(of, trace_url)
    steps = whole["events"]
    row = of.message
    ended = row["finished_at"]
    return {name: value for name, value in whole.items() if name not in ("body", "attempts")} | {
        "since": steps[-1]["at"],
        "age_seconds": round((ended if ended is not None else now) - row["accepted_at"], 3),
    }


def story(events: Sequence[Any], of: Sequence[MessageTimeline], trace_url: str) -> dict[str, Any]:
    """All that happened under one correlation id, in the order of time."""
    steps = [_accepted(row) for row in events]
    for each in of:
        steps.extend(_steps(each))
    traces = list(dict.fromkeys(trace for row in events if (trace := _trace_id(row["traceparent"]))))
    return {
        "correlation_id": events[0]["correlation_id"],
        "trace_ids": traces,
        "states": _counted(each.message["state"] for each in of),
        "timeline": [{**step, "at": rfc3339(step["at"])} for step in sorted(steps, key=_when)],
        "messages": [message_view.summary(each.message) for each in of],
        "links": {
            "traces": [f"{trace_url}/trace/{trace}" for trace in traces] if trace_url else [],
            "events": [f"/api/v1/events/{row['id']}" for row in events],
            "messages": [f"/api/v1/messages/{each.message['id']}" for each in of],
        },
    }


def _when(step: dict[str, Any]) -> float:
    return float(step["at"])


def _accepted(row: Any) -> dict[str, Any]:
    return {
        "at": row["accepted_at"],
        "what": "event",
        "event_id": row["id"],
        "type": row["type"],
        "title": row["title"],
        "client": row["client"],
        "trace_id": _trace_id(row["traceparent"]),
    }


def _steps(of: MessageTimeline) -> Iterable[dict[str, Any]]:
    named = {"message_id": of.message["id"], "chat_id": of.message["chat_id"]}
    yield {"at": of.message["accepted_at"], "what": "change", "status": State.QUEUED.value, **named}
    for row in of.attempts:
        numbered = named | {"attempt": row["number"]}
        yield {"at": row["claimed_at"], "what": "change", "status": State.SENDING.value, **numbered}
        if row["started_at"] is not None:
            yield {"at": row["started_at"], "what": "attempt", **numbered, **_answer(row)}
        if row["settled_at"] is not None:
            reason = None if row["reason"] == "none" else row["reason"]
            told = {"status": row["state"], "cause": reason}
            yield {"at": row["settled_at"], "what": "change", **told, **numbered}
    for other in of.changes:
        told = {"status": other["state"], "cause": other["cause"]}
        yield {"at": other["at"], "what": "change", **told, **named}


def _answer(row: Any) -> dict[str, Any]:
    finished = row["finished_at"]
    return {
        "part": row["part"] + 1,
        "outcome": row["outcome"],
        "reason": row["reason"],
        "detail": row["detail"] or None,
        "duration_ms": None if finished is None else round((finished - row["started_at"]) * 1000, 1),
        "limiter_wait_ms": round(row["limiter_wait"] * 1000, 1),
        "retry_after_seconds": row["retry_after"],
        "telegram_message_id": row["telegram_message_id"],
    }


def _counted(states: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def dead_letter(row: Any, attempt: Any | None) -> dict[str, Any]:
    """A message that was given up, and in whose words."""
    return message_view.summary(row) | {
        "reason": row["reason"],
        "detail": (attempt["detail"] or None) if attempt is not None else None,
        "telegram_error_at": rfc3339(attempt["finished_at"])
        if attempt is not None and attempt["finished_at"] is not None
        else None,
    }


def job(row: Any) -> dict[str, Any]:
    """A job and how far it is."""
    return {
        "id": row["id"],
        "kind": row["kind"],
        "status": row["state"],
        "created_at": rfc3339(row["created_at"]),
        "created_by": row["created_by"],
        "why": row["why"] or None,
        "finished_at": rfc3339(row["finished_at"]) if row["finished_at"] is not None else None,
        "filter": _filter(orjson.loads(row["wanted"])),
        "progress": {"total": row["total"], "passed": row["passed"], "replayed": row["done"]},
        "error": row["error"],
    }


def _filter(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is replayed, in the words of who asked for it."""
    return {
        "status": wanted["states"],
        "reason": wanted.get("reasons", []),
        "type": wanted.get("type"),
        "chat_id": wanted.get("chat_id"),
        "bot": wanted.get("bot"),
        "correlation_id": wanted.get("correlation_id"),
        "since": _time(wanted.get("since")),
        "until": _time(wanted.get("until")),
        "q": wanted.get("text"),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
