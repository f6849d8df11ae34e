"""A message's spans, told after the fact from its stored times, under the trace that was answered.

No span is made while a client waits. The verbs are the span names:
accept (the root, or under the client's span) > enqueue, and for each attempt queue, pace, send, settle.
They are written as the bytes that are sent, without an object for each (docs/performance.md).

A trace that is not sampled is told whole at the message's end, where that was slow or no delivery.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from opentelemetry.trace import SpanKind

from services.kit import otlp
from services.kit.otlp import Key, Shape
from services.kit.spans import seven_bytes
from services.kit.telemetry import Telemetry, TraceContext
from services.outbox.messages import Claimed, NewEvent, NewMessage, Outcome, Reason, Settled
from services.outbox.queries import Life

_ACCEPT = Shape("accept", SpanKind.SERVER)
_ENQUEUE = Shape("enqueue", SpanKind.PRODUCER)
_QUEUE = Shape("queue")
_PACE = Shape("pace")
_SEND = Shape("send", SpanKind.CLIENT)
_SETTLE = Shape("settle")

_SYSTEM = Key("messaging.system").text("telegram")
_BATCH = Key("messaging.batch.message_count")
_MESSAGING_ID = Key("messaging.message.id")
_MESSAGE_ID = Key("cctelegram.message_id")
_CHAT = Key("cctelegram.chat_hash")
_EVENT_ID = Key("cctelegram.event_id")
_EVENT_TYPE = Key("cctelegram.event_type")
_CORRELATION = Key("cctelegram.correlation_id")
_ATTEMPT = Key("cctelegram.attempt")
_STATE = Key("cctelegram.state")
_REASON = Key("cctelegram.reason")
_OUTCOME = Key("cctelegram.outcome")
_TELEGRAM_ID = Key("cctelegram.telegram_message_id")
_RETRY_AFTER = Key("cctelegram.retry_after_seconds")
_COMMIT_MEASURED = Key("cctelegram.commit_measured")
_OPERATION = Key("messaging.operation.name").text("send")
_KEPT = Key("cctelegram.kept").attribute(value=True)


def chat_hash(chat_id: int) -> str:
    """Finds a chat's messages in the traces without showing its id to who reads them."""
    return hashlib.blake2s(str(chat_id).encode(), digest_size=8).hexdigest()


def tell_accepted(
    telemetry: Telemetry, event: NewEvent, messages: Sequence[NewMessage], committed_at: float
) -> None:
    """The spans of the request: ``accept``, and within it ``enqueue`` up to the commit."""
    if not telemetry.exports_spans or not event.trace.sampled:
        return
    attributes = _EVENT_ID.text(event.id) + _batch_of(len(messages))
    if len(messages) == 1:
        attributes += _of(messages[0].id, messages[0].chat_id, event.type, event.correlation_id)
    else:
        attributes += _of_event(event.type, event.correlation_id)
    telemetry.export(_accepted(event.trace, event.parent, event.accepted_at, committed_at, attributes), 2)


def _accepted(
    root: TraceContext, parent: TraceContext | None, start: float, end: float, attributes: bytes
) -> bytes:
    above = otlp.place(root.trace_id, parent.span_id if parent else None)
    below = otlp.place(root.trace_id, root.span_id)
    return _ACCEPT.encode(above, root.span_id.to_bytes(8), start, end, attributes) + _ENQUEUE.encode(
        below, seven_bytes() + b"\x02", start, end, attributes
    )


@dataclass(slots=True)  # frozen, it would take as long as the four spans
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


def tell_attempts(telemetry: Telemetry, batch: Sequence[Settled], settled_at: float) -> None:
    """The spans of attempts: queue wait, limiter wait, Telegram's answer, the write of the outcome."""
    if not telemetry.exports_spans:
        return
    told = [_attempt(settled, settled_at) for settled in batch if settled.message.trace.sampled]
    telemetry.export(b"".join(told), 4 * len(told))


def _attempt(settled: Settled, settled_at: float) -> bytes:
    message, result = settled.message, settled.result
    made = _Attempt(
        max(message.accepted_at, message.replayed_at or 0.0, message.due_at),
        message.claimed_at,
        message.limiter_wait,
        result.started_at,
        result.finished_at,
        settled_at,
        result.outcome.value,
        result.reason.value,
        settled.decision.state.value,
        result.detail,
        result.message_id,
        result.retry_after,
    )
    return _attempt_spans(message.trace, _of_claimed(message) + _number(message.attempt), made)


def tell_ended(telemetry: Telemetry, settled: Settled, at: float) -> None:
    """The span of a message that ends without being tried: all of its life was waiting."""
    message = settled.message
    if not telemetry.exports_spans or not message.trace.sampled:
        return
    named = _of_claimed(message) + _ended(settled.decision.state.value, settled.result.reason.value)
    telemetry.export(_waited(message.trace, message.entered_at, at, named), 1)


def _ended(state: str, reason: str) -> bytes:
    return _STATE.text(state) + _REASON.text(reason) + otlp.error(reason)


def _waited(root: TraceContext, start: float, at: float, attributes: bytes) -> bytes:
    above = otlp.place(root.trace_id, root.span_id)
    return _QUEUE.encode(above, seven_bytes() + b"\x01", start, at, attributes)


def tell_whole(telemetry: Telemetry, life: Life, committed_at: float | None, *, with_event: bool) -> None:
    """All spans of a message, from what is stored of it, whether or not its trace is sampled.

    Args:
        telemetry: of the service.
        life: of the message.
        committed_at: when its event was durable; unknown where another process took it in.
        with_event: also those of the event; once for all of its messages.
    """
    row = life.message
    root = TraceContext.parse(row["traceparent"])
    assert root is not None, row["traceparent"]  # noqa: S101 - we wrote it ourselves
    common = _of(row["id"], row["chat_id"], row["type"], row["correlation_id"])
    common += _EVENT_ID.text(row["event_id"]) + _KEPT
    if with_event:
        # Handed to the disk: the commit took a moment longer, which nobody here measured.
        end = committed_at or row["written_at"] or row["accepted_at"]
        measured = common + _COMMIT_MEASURED.attribute(committed_at is not None)
        telemetry.export(_accepted(root, None, row["accepted_at"], end, measured), 2)
    waited_from = row["accepted_at"]
    for attempt in life.attempts:
        numbered = common + _number(attempt["number"])
        telemetry.export(_attempt_spans(root, numbered, _stored(attempt, waited_from)), 4)
        waited_from = attempt["settled_at"] or attempt["claimed_at"]
    for ended in _ends(root, common, life, waited_from):
        telemetry.export(ended, 1)


def _ends(root: TraceContext, common: bytes, life: Life, waited_from: float) -> Iterator[bytes]:
    """What happened to a message other than by attempts, and ended it."""
    row = life.message
    for change in life.changes:
        if change["state"] == row["state"] and change["at"] == row["finished_at"]:
            ended = common + _ended(change["state"], row["reason"])
            yield _waited(root, waited_from, change["at"], ended)


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


def _attempt_spans(root: TraceContext, common: bytes, made: _Attempt) -> bytes:
    above = otlp.place(root.trace_id, root.span_id)
    # The spans of an attempt have seven random bytes in common; the eighth tells them apart.
    own = seven_bytes()
    pace_from = max(made.waited_from, made.claimed_at - made.limiter_wait)
    return b"".join(
        (
            _QUEUE.encode(above, own + b"\x01", made.waited_from, pace_from, common),
            _PACE.encode(above, own + b"\x02", pace_from, made.claimed_at, common),
            _SEND.encode(above, own + b"\x03", made.started_at, made.finished_at, common + _of_result(made)),
            _SETTLE.encode(above, own + b"\x04", made.finished_at, made.settled_at, common),
        )
    )


def _of_claimed(message: Claimed) -> bytes:
    return _of(message.id, message.chat_id, message.event_type, message.correlation_id)


@lru_cache(4_096)  # what the spans of its acceptance and of its attempts have in common
def _of(message_id: str, chat_id: int, event_type: str, correlation_id: str) -> bytes:
    ids = _SYSTEM + _MESSAGING_ID.text(message_id) + _MESSAGE_ID.text(message_id) + _chat(chat_id)
    return ids + _of_event(event_type, correlation_id)


def _of_event(event_type: str, correlation_id: str) -> bytes:
    return _kind(event_type) + _CORRELATION.text(correlation_id)


def _of_result(made: _Attempt) -> bytes:
    told = _answer(made.outcome, made.reason, made.state)
    if made.telegram_message_id is not None:
        told += _TELEGRAM_ID.number(made.telegram_message_id)
    if made.retry_after is not None:
        told += _RETRY_AFTER.attribute(made.retry_after)
    return told if made.outcome == Outcome.SENT.value else told + otlp.error(f"{made.reason}: {made.detail}")


@lru_cache(512)
def _answer(outcome: str, reason: str, state: str) -> bytes:
    return _OPERATION + _OUTCOME.text(outcome) + _REASON.text(reason) + _STATE.text(state)


@lru_cache(4_096)
def _chat(chat_id: int) -> bytes:
    return _CHAT.text(chat_hash(chat_id))


@lru_cache(512)
def _kind(event_type: str) -> bytes:
    return _EVENT_TYPE.text(event_type)


@lru_cache(64)
def _number(attempt: int) -> bytes:
    return _ATTEMPT.attribute(attempt)


@lru_cache(64)
def _batch_of(count: int) -> bytes:
    return _BATCH.attribute(count)
