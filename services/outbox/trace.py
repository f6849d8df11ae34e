"""A message's spans, told after the fact from its stored times, under the trace that was answered.

No span is made while a client waits. The verbs are the span names:
accept (the root, or under the client's span) > enqueue, and for each attempt queue, pace, send, settle.

A trace that is not sampled is told whole at the message's end, where that was slow or no delivery.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from opentelemetry.trace import SpanKind

from services.kit.telemetry import FinishedSpan, Telemetry, TraceContext
from services.outbox.messages import Claimed, NewEvent, NewMessage, Outcome, Reason, Settled
from services.outbox.queries import Life

Attributes = dict[str, str | int | float | bool]


def chat_hash(chat_id: int) -> str:
    """Finds a chat's messages in the traces without showing its id to who reads them."""
    return hashlib.blake2s(str(chat_id).encode(), digest_size=8).hexdigest()


def tell_accepted(
    telemetry: Telemetry, event: NewEvent, messages: Sequence[NewMessage], committed_at: float
) -> None:
    """The spans of the request: ``accept``, and within it ``enqueue`` up to the commit."""
    if not telemetry.exports_spans or not event.trace.sampled:
        return
    attributes: Attributes = {
        "cctelegram.event_id": event.id,
        "cctelegram.event_type": event.type,
        "cctelegram.correlation_id": event.correlation_id,
        "messaging.batch.message_count": len(messages),
    }
    if len(messages) == 1:
        attributes |= _of_message(messages[0].id, messages[0].chat_id)
    for span in _accepted(event.trace, event.parent, event.accepted_at, committed_at, attributes):
        telemetry.write(span)


def _accepted(
    root: TraceContext, parent: TraceContext | None, start: float, end: float, attributes: Attributes
) -> Iterator[FinishedSpan]:
    yield FinishedSpan("accept", root, parent, start, end, attributes, SpanKind.SERVER)
    yield FinishedSpan("enqueue", root.child(), root, start, end, {}, SpanKind.PRODUCER)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """The times and the answer of one attempt."""

    waited_from: float
    claimed_at: float
    limiter_wait: float
    started_at: float
    finished_at: float
    settled_at: float
    outcome: str
    reason: str
    state: str
    detail: str
    telegram_message_id: int | None
    retry_after: float | None


def tell_attempt(telemetry: Telemetry, settled: Settled, settled_at: float) -> None:
    """The spans of one attempt: queue wait, limiter wait, Telegram's answer, the write of the outcome."""
    message, result = settled.message, settled.result
    if not telemetry.exports_spans or not message.trace.sampled:
        return
    made = _Attempt(
        waited_from=max(message.entered_at, message.due_at),
        claimed_at=message.claimed_at,
        limiter_wait=message.limiter_wait,
        started_at=result.started_at,
        finished_at=result.finished_at,
        settled_at=settled_at,
        outcome=result.outcome.value,
        reason=result.reason.value,
        state=settled.decision.state.value,
        detail=result.detail,
        telegram_message_id=result.message_id,
        retry_after=result.retry_after,
    )
    common = _common(message) | {"cctelegram.attempt": message.attempt}
    for span in _attempt_spans(message.trace, common, made):
        telemetry.write(span)


def tell_ended(telemetry: Telemetry, settled: Settled, at: float) -> None:
    """The span of a message that ends without being tried: all of its life was waiting."""
    message = settled.message
    if not telemetry.exports_spans or not message.trace.sampled:
        return
    common = _common(message) | {"cctelegram.state": settled.decision.state.value}
    telemetry.write(_end(message.trace, common, message.entered_at, at, settled.result.reason.value))


def _end(root: TraceContext, attributes: Attributes, start: float, at: float, reason: str) -> FinishedSpan:
    named = attributes | {"cctelegram.reason": reason}
    return FinishedSpan("queue", root.child(), root, start, at, named, error=reason)


def tell_whole(telemetry: Telemetry, life: Life, committed_at: float | None, *, with_event: bool) -> None:
    """All spans of a message, from what is stored of it, whether or not its trace is sampled.

    Args:
        telemetry: of the service.
        life: of the message.
        committed_at: when its event was durable; unknown where another process took it in.
        with_event: also those of the event; once for all of its messages.
    """
    row = life.message
    stored = TraceContext.parse(row["traceparent"])
    assert stored is not None, row["traceparent"]  # noqa: S101 - we wrote it ourselves
    root = replace(stored, sampled=True)
    common: Attributes = _of_message(row["id"], row["chat_id"]) | {
        "cctelegram.event_id": row["event_id"],
        "cctelegram.event_type": row["type"],
        "cctelegram.correlation_id": row["correlation_id"],
        "cctelegram.kept": True,
    }
    if with_event:
        # Handed to the disk: the commit took a moment longer, which nobody here measured.
        end = committed_at or row["written_at"] or row["accepted_at"]
        measured: Attributes = {"cctelegram.commit_measured": committed_at is not None}
        for span in _accepted(root, None, row["accepted_at"], end, common | measured):
            telemetry.write(span)
    waited_from = row["accepted_at"]
    for attempt in life.attempts:
        numbered = common | {"cctelegram.attempt": attempt["number"]}
        for span in _attempt_spans(root, numbered, _stored(attempt, waited_from)):
            telemetry.write(span)
        waited_from = attempt["settled_at"] or attempt["claimed_at"]
    _tell_changes(telemetry, root, common, life, waited_from)


def _tell_changes(
    telemetry: Telemetry, root: TraceContext, common: Attributes, life: Life, waited_from: float
) -> None:
    """What happened to a message other than by attempts, and ended it."""
    for change in life.changes:
        if change["state"] == life.message["state"] and change["at"] == life.message["finished_at"]:
            ended = common | {"cctelegram.state": change["state"]}
            telemetry.write(_end(root, ended, waited_from, change["at"], life.message["reason"]))


def _stored(row: Any, waited_from: float) -> _Attempt:
    """An attempt as it was written; what a crash left open has no answer."""
    claimed = row["claimed_at"]
    started = row["started_at"] or claimed
    finished = row["finished_at"] or started
    return _Attempt(
        waited_from=waited_from,
        claimed_at=claimed,
        limiter_wait=row["limiter_wait"],
        started_at=started,
        finished_at=finished,
        settled_at=row["settled_at"] or finished,
        outcome=row["outcome"] or Outcome.UNKNOWN.value,
        reason=row["reason"] or Reason.WORKER_LOST.value,
        state=row["state"] or "",
        detail=row["detail"] or "",
        telegram_message_id=row["telegram_message_id"],
        retry_after=row["retry_after"],
    )


def _attempt_spans(root: TraceContext, common: Attributes, made: _Attempt) -> Iterator[FinishedSpan]:
    pace_from = max(made.waited_from, made.claimed_at - made.limiter_wait)
    yield FinishedSpan("queue", root.child(), root, made.waited_from, pace_from, common)
    yield FinishedSpan("pace", root.child(), root, pace_from, made.claimed_at, common)
    yield FinishedSpan(
        "send",
        root.child(),
        root,
        made.started_at,
        made.finished_at,
        common | _of_result(made),
        SpanKind.CLIENT,
        "" if made.outcome == Outcome.SENT.value else f"{made.reason}: {made.detail}",
    )
    yield FinishedSpan("settle", root.child(), root, made.finished_at, made.settled_at, common)


def _common(message: Claimed) -> Attributes:
    return {
        **_of_message(message.id, message.chat_id),
        "cctelegram.event_type": message.event_type,
        "cctelegram.correlation_id": message.correlation_id,
    }


def _of_message(message_id: str, chat_id: int) -> Attributes:
    return {
        "messaging.system": "telegram",
        "messaging.message.id": message_id,
        "cctelegram.message_id": message_id,
        "cctelegram.chat_hash": chat_hash(chat_id),
    }


def _of_result(made: _Attempt) -> Attributes:
    attributes: Attributes = {
        "messaging.operation.name": "send",
        "cctelegram.outcome": made.outcome,
        "cctelegram.reason": made.reason,
        "cctelegram.state": made.state,
    }
    if made.telegram_message_id is not None:
        attributes["cctelegram.telegram_message_id"] = made.telegram_message_id
    if made.retry_after is not None:
        attributes["cctelegram.retry_after_seconds"] = made.retry_after
    return attributes
