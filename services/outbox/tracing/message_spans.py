"""A message's spans, told after the fact from its stored times, under the trace that was answered.

No span is made while a client waits. The verbs are the span names:
accept (the root, or under the client's span) > enqueue, and for each attempt queue, pace, send, settle.
They are written as the bytes that are sent, without an object for each (docs/performance.md).

A trace that is not sampled is told whole at the message's end, where that was slow or no delivery.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any

from opentelemetry.trace import SpanKind

from services.kit.telemetry import otlp_encoder
from services.kit.telemetry.otlp_encoder import END, START, Key, Row, Shape
from services.kit.telemetry.spans import seven_bytes
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.messages import (
    Claimed,
    EventRecord,
    MessageRecord,
    MessageState,
    Outcome,
    Reason,
    Settled,
)
from services.outbox.queries.message_timeline import MessageTimeline

#: An event and its messages.
_Accepted = tuple[EventRecord, Sequence[MessageRecord]]

_ACCEPT = Shape("accept", SpanKind.SERVER)
# The ids of the others begin differently: an attempt's four have seven random bytes in common.
_ENQUEUE = Shape("enqueue", SpanKind.PRODUCER, b"\x01")
_QUEUE = Shape("queue", beginning=b"\x02")
_PACE = Shape("pace", beginning=b"\x03")
_SEND = Shape("send", SpanKind.CLIENT, b"\x04")
_SETTLE = Shape("settle", beginning=b"\x05")

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


def tell_accepted(telemetry: Telemetry, accepted: Iterable[_Accepted], committed_at: float) -> None:
    """The spans of events that one commit stored: ``accept``, and within it ``enqueue`` up to the commit."""
    if not telemetry.exports_spans:
        return
    sampled = [pair for pair in accepted if pair[0].trace.sampled]
    telemetry.export_later(partial(_accepted_together, sampled, committed_at), 2 * len(sampled))


def _accepted_together(accepted: Iterable[_Accepted], committed_at: float) -> bytes:
    return b"".join(
        [
            _accepted(event.trace, event.parent, event.accepted_at, committed_at, _of_new(event, messages))
            for event, messages in accepted
        ]
    )


def _of_new(event: EventRecord, messages: Sequence[MessageRecord]) -> bytes:
    event_id = _EVENT_ID.text(event.id)
    if len(messages) != 1:
        return event_id + _batch_of(len(messages)) + _of_event(event.type, event.correlation_id)
    (one,) = messages
    more = _more(one.id, one.chat_id, event.type, event.correlation_id)
    return event_id + _MESSAGE_ID.text(one.id) + more


def _accepted(
    root: TraceContext,
    parent: TraceContext | None,
    start: float,
    end: float,
    said: bytes,
    *,
    commit: bytes = b"",
) -> bytes:
    above = otlp_encoder.place(root.trace_id, parent.span_id if parent else None, root.span_id.to_bytes(8))
    accept = above + said + START
    enqueue = _below(root) + commit + START
    begin, over = int(start * 1e9), int(max(start, end) * 1e9)
    row = _request(len(accept), len(enqueue))
    one, two = row.heads
    return row.pack(one, accept, begin, END, over, two, enqueue, begin, END, over)


@lru_cache(256)
def _request(accept: int, enqueue: int) -> Row:
    return Row((_ACCEPT, accept), (_ENQUEUE, enqueue))


#: When an attempt waits, is held up by the limiter, is claimed, sent, answered, settled.
_Times = tuple[float, float, float, float, float, float]


def tell_attempts(telemetry: Telemetry, batch: Sequence[Settled], settled_at: float) -> None:
    """The spans of attempts: queue wait, limiter wait, Telegram's answer, the write of the outcome."""
    if not telemetry.exports_spans:
        return
    sampled = [settled for settled in batch if settled.message.trace.sampled]
    telemetry.export_later(partial(_attempts, sampled, settled_at), 4 * len(sampled))


def _attempts(batch: Iterable[Settled], settled_at: float) -> bytes:
    return b"".join([_attempt(settled, settled_at) for settled in batch])


def _attempt(settled: Settled, settled_at: float) -> bytes:
    message, result = settled.message, settled.result
    times = (
        max(message.accepted_at, message.replayed_at or 0.0, message.due_at),
        message.claimed_at - message.limiter_wait,
        message.claimed_at,
        result.started_at,
        result.finished_at,
        settled_at,
    )
    state = settled.decision.state
    if state is MessageState.DELIVERED and result.message_id is not None:
        answer = _DELIVERED + _TELEGRAM_ID.number(result.message_id)
    else:
        answer = _answer(result.outcome.value, result.reason.value, state.value, result.detail)
        answer += _answered(result.message_id, result.retry_after)
    whose = _MESSAGE_ID.text(message.id) + _number(message.attempt)
    return _attempt_spans(message.trace, whose, _of_claimed(message) + answer, times)


def tell_ended(telemetry: Telemetry, settled: Settled, at: float) -> None:
    """The span of a message that ends without being tried: all of its life was waiting."""
    message = settled.message
    if not telemetry.exports_spans or not message.trace.sampled:
        return
    named = _MESSAGE_ID.text(message.id) + _of_claimed(message)
    named += _ended(settled.decision.state.value, settled.result.reason.value)
    telemetry.export(_waited(message.trace, message.entered_at, at, named), 1)


def _ended(state: str, reason: str) -> bytes:
    return _STATE.text(state) + _REASON.text(reason) + otlp_encoder.error(reason)


def _waited(root: TraceContext, start: float, at: float, attributes: bytes) -> bytes:
    return _QUEUE.encode(_below(root), start, at, attributes)


def _below(root: TraceContext) -> bytes:
    return otlp_encoder.place(root.trace_id, root.span_id, seven_bytes())


def tell_whole(
    telemetry: Telemetry, life: MessageTimeline, committed_at: float | None, *, with_event: bool
) -> None:
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
    whose = _MESSAGE_ID.text(row["id"])
    more = _more(row["id"], row["chat_id"], row["type"], row["correlation_id"])
    more += _EVENT_ID.text(row["event_id"]) + _KEPT
    if with_event:
        # Handed to the disk: the commit took a moment longer, which nobody here measured.
        end = committed_at or row["written_at"] or row["accepted_at"]
        measured = _COMMIT_MEASURED.attribute(committed_at is not None)
        said = whose + more + measured
        telemetry.export(_accepted(root, None, row["accepted_at"], end, said, commit=measured), 2)
    waited_from = row["accepted_at"]
    for attempt in life.attempts:
        times, answer = _stored(attempt, waited_from)
        numbered = whose + _number(attempt["number"])
        telemetry.export(_attempt_spans(root, numbered, more + answer, times), 4)
        waited_from = attempt["settled_at"] or attempt["claimed_at"]
    for ended in _ends(root, whose + more, life, waited_from):
        telemetry.export(ended, 1)


def _ends(root: TraceContext, named: bytes, life: MessageTimeline, waited_from: float) -> Iterator[bytes]:
    """What happened to a message other than by attempts, and ended it."""
    row = life.message
    for change in life.changes:
        if change["state"] == row["state"] and change["at"] == row["finished_at"]:
            ended = named + _ended(change["state"], row["reason"])
            yield _waited(root, waited_from, change["at"], ended)


def _stored(row: Any, waited_from: float) -> tuple[_Times, bytes]:
    """An attempt as it was written: its times and its answer; what a crash left open has none."""
    claimed = row["claimed_at"]
    started = row["started_at"] or claimed
    finished = row["finished_at"] or started
    pace_from = claimed - row["limiter_wait"]
    times = waited_from, pace_from, claimed, started, finished, row["settled_at"] or finished
    outcome, reason = row["outcome"] or Outcome.UNKNOWN.value, row["reason"] or Reason.WORKER_LOST.value
    answer = _answer(outcome, reason, row["state"] or "", row["detail"] or "")
    return times, answer + _answered(row["telegram_message_id"], row["retry_after"])


def _attempt_spans(root: TraceContext, whose: bytes, more: bytes, times: _Times) -> bytes:
    """What can be searched for is in ``send`` (and in ``accept``); the others say whose they are."""
    below = _below(root) + whose
    other, send = below + START, below + more + START
    row = _attempt_row(len(other), len(send))
    one, two, three, four = row.heads
    waits, paces, claimed, sent, answered, settled = [int(at * 1e9) for at in times]
    if not (waits <= paces <= claimed and sent <= answered <= settled):
        # Clocks differ from machine to machine: nothing ends before it began.
        paces = max(waits, paces)
        claimed, answered = max(paces, claimed), max(sent, answered)
        settled = max(answered, settled)
    # fmt: off - a line a span
    return row.pack(
        one,
        other,
        waits,
        END,
        paces,
        two,
        other,
        paces,
        END,
        claimed,
        three,
        send,
        sent,
        END,
        answered,
        four,
        other,
        answered,
        END,
        settled,
    )
    # fmt: on


@lru_cache(256)
def _attempt_row(other: int, send: int) -> Row:
    return Row((_QUEUE, other), (_PACE, other), (_SEND, send), (_SETTLE, other))


def _of_claimed(message: Claimed) -> bytes:
    return _more(message.id, message.chat_id, message.event_type, message.correlation_id)


def _more(message_id: str, chat_id: int, event_type: str, correlation_id: str) -> bytes:
    """What is told of a message beside its id."""
    said = _of_event(event_type, correlation_id)
    return b"".join((_SYSTEM, _MESSAGING_ID.text(message_id), _chat(chat_id), said))


def _of_event(event_type: str, correlation_id: str) -> bytes:
    return _kind(event_type) + _CORRELATION.text(correlation_id)


def _answer(outcome: str, reason: str, state: str, detail: str) -> bytes:
    told = _OPERATION + _OUTCOME.text(outcome) + _REASON.text(reason) + _STATE.text(state)
    return told if outcome == Outcome.SENT.value else told + otlp_encoder.error(f"{reason}: {detail}")


_DELIVERED = _answer(Outcome.SENT.value, Reason.NONE.value, MessageState.DELIVERED.value, "")


def _answered(message_id: int | None, retry_after: float | None) -> bytes:
    told = b"" if message_id is None else _TELEGRAM_ID.number(message_id)
    return told if retry_after is None else told + _RETRY_AFTER.attribute(retry_after)


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
