"""Stream changes, timelines, dead letters and jobs as the API shows them. Pure: rows to contract models."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.bridge.tracking import approval_changes, message_view
from services.bridge.tracking.message_view import milliseconds, rfc3339_or_none, trace_id
from services.contracts.messages import DeadLetter, TracedMessage
from services.contracts.stored import from_row, json_of, number_of
from services.contracts.tracking import (
    CorrelationLinks,
    CorrelationTimeline,
    Job,
    JobFilter,
    Progress,
    StreamApproval,
    StreamChange,
    TimelineStep,
)
from services.kit.clock import rfc3339
from services.outbox.change_feed import Change
from services.outbox.messages import MessageState
from services.outbox.queries.message_timeline import MessageTimeline


def change(of: Change) -> StreamChange:
    """The data of the stream's event `change`."""
    row = of.message
    return from_row(
        StreamChange,
        message_id=row["id"],
        event_id=row["event_id"],
        type=row["type"],
        category=row["category"],
        title=row["title"],
        source=row["source"],
        severity=row["severity"],
        chat_id=row["chat_id"],
        bot=row["bot"],
        status=of.state,
        attempt=of.attempt or None,
        cause=of.cause or None,
        at=rfc3339(of.at),
        accepted_at=rfc3339(row["accepted_at"]),
        correlation_id=row["correlation_id"],
        trace_id=trace_id(row["traceparent"]),
    )


def approval(of: Change, status: str) -> StreamApproval:
    """The data of the stream's event `approval`."""
    row = of.message
    return from_row(
        StreamApproval,
        approval_id=approval_changes.approval_of(of),
        status=status,
        title=row["title"],
        event_id=row["event_id"],
        bot=row["bot"],
        at=rfc3339(of.at),
        correlation_id=row["correlation_id"],
        trace_id=trace_id(row["traceparent"]),
    )


def life(of: MessageTimeline, now: float, trace_url: str) -> TracedMessage:
    """A message with its state, since when, and every earlier state."""
    row = of.message
    timeline = message_view.timeline(of, trace_url)
    end = now if row["finished_at"] is None else row["finished_at"]
    return from_row(
        TracedMessage,
        **message_view.fields(row),
        **timeline,
        since=timeline["events"][-1].at,
        age_seconds=round(number_of(end) - number_of(row["accepted_at"]), 3),
    )


def story(
    events: Sequence[Any], of: Sequence[MessageTimeline], trace_url: str, *, truncated: bool
) -> CorrelationTimeline:
    """Everything under one correlation id, in the order of time.

    Args:
        events: their rows, the oldest first.
        of: the events' messages.
        trace_url: of the trace viewer, or empty.
        truncated: whether there are more messages than these.
    """
    steps = [_accepted(row) for row in events] + [step for each in of for step in _steps(each)]
    traces = list(dict.fromkeys(trace for row in events if (trace := trace_id(row["traceparent"]))))
    return CorrelationTimeline(
        correlation_id=events[0]["correlation_id"],
        trace_ids=traces,
        states=dict(Counter(str(each.message["state"]) for each in of)),
        timeline=[step for _, step in sorted(steps, key=lambda timed: timed[0])],
        messages=[message_view.summary(each.message) for each in of],
        links=CorrelationLinks(
            traces=[f"{trace_url}/trace/{trace}" for trace in traces] if trace_url else [],
            events=[f"/api/v1/events/{row['id']}" for row in events],
            messages=[f"/api/v1/messages/{each.message['id']}" for each in of],
        ),
        truncated=truncated,
    )


#: A step and its time, seconds since the epoch, by which steps are sorted.
_Timed = tuple[float, TimelineStep]


def _timed(at: float, **fields: Any) -> _Timed:
    return number_of(at), from_row(TimelineStep, at=rfc3339(at), **fields)


def _accepted(row: Any) -> _Timed:
    return _timed(
        row["accepted_at"],
        what="event",
        event_id=row["id"],
        type=row["type"],
        title=row["title"],
        client=row["client"],
        trace_id=trace_id(row["traceparent"]),
    )


def _steps(of: MessageTimeline) -> Iterable[_Timed]:
    ids = {"message_id": of.message["id"], "chat_id": of.message["chat_id"]}
    yield _timed(of.message["accepted_at"], what="change", status=MessageState.QUEUED.value, **ids)
    for row in of.attempts:
        numbered = ids | {"attempt": row["number"]}
        yield _timed(row["claimed_at"], what="change", status=MessageState.SENDING.value, **numbered)
        if row["started_at"] is not None:
            yield _timed(row["started_at"], what="attempt", **numbered, **_result(row))
        if row["settled_at"] is not None:
            cause = None if row["reason"] == "none" else row["reason"]
            yield _timed(row["settled_at"], what="change", status=row["state"], cause=cause, **numbered)
    for change in of.changes:
        yield _timed(change["at"], what="change", status=change["state"], cause=change["cause"], **ids)


def _result(row: Any) -> dict[str, Any]:
    """The fields of an attempt that has begun."""
    return {
        "part": number_of(row["part"]) + 1,
        "outcome": row["outcome"],
        "reason": row["reason"],
        "detail": row["detail"] or None,
        "duration_ms": milliseconds(row["started_at"], row["finished_at"]),
        "limiter_wait_ms": milliseconds(0.0, row["limiter_wait"]),
        "retry_after_seconds": row["retry_after"],
        "telegram_message_id": row["telegram_message_id"],
    }


def dead_letter(row: Any, attempt: Any | None) -> DeadLetter:
    """A dead letter with Telegram's words of its last attempt, if there was one."""
    return from_row(
        DeadLetter,
        **message_view.fields(row),
        attempts=row["attempts"],
        reason=row["reason"],
        detail=(attempt["detail"] or None) if attempt is not None else None,
        telegram_error_at=rfc3339_or_none(attempt["finished_at"]) if attempt is not None else None,
    )


def job(row: Any) -> Job:
    """A job and its progress."""
    return from_row(
        Job,
        id=row["id"],
        kind=row["kind"],
        status=row["state"],
        created_at=rfc3339(row["created_at"]),
        created_by=row["created_by"],
        why=row["why"] or None,
        finished_at=rfc3339_or_none(row["finished_at"]),
        filter=_filter(_json_object(row["wanted"])),
        progress=from_row(Progress, total=row["total"], passed=row["passed"], replayed=row["done"]),
        error=row["error"],
    )


def _json_object(text: Any) -> Mapping[str, Any]:
    found = json_of(text)
    return found if isinstance(found, dict) else {}


def _filter(wanted: Mapping[str, Any]) -> JobFilter:
    return from_row(
        JobFilter,
        status=wanted.get("states", []),
        reason=wanted.get("reasons", []),
        type=wanted.get("type"),
        chat_id=wanted.get("chat_id"),
        bot=wanted.get("bot"),
        correlation_id=wanted.get("correlation_id"),
        since=rfc3339_or_none(wanted.get("since")),
        until=rfc3339_or_none(wanted.get("until")),
        q=wanted.get("text"),
    )
