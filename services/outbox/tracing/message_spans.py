"""The spans of a message, exported from its stored times under the trace id that the client was answered.

No span is made while a client waits. Their names are ``accept`` (the root, or a child of the client's span),
``enqueue`` below it, and ``queue``, ``pace``, ``send`` and ``settle`` for each attempt. The spans of a trace
that is not sampled are exported at the message's end, where that was slow or failed (`tail_sampling`).
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from services.kit.telemetry.span_writer import SpanWriter
from services.kit.telemetry.spans import Value
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.outbox.messages import EventRecord, MessageRecord, Outcome, Reason, Settled
from services.outbox.queries.message_timeline import MessageTimeline

Attributes = dict[str, Value]
#: An event and its messages.
AcceptedEvent = tuple[EventRecord, Sequence[MessageRecord]]
#: When an attempt begins to wait, waits for the rate limit, is claimed, sent, answered and settled.
AttemptTimes = tuple[float, float, float, float, float, float]


@lru_cache(4_096)
def chat_hash(chat_id: int) -> str:
    """Identifies a chat in traces, whose readers must not learn its id."""
    return hashlib.blake2s(str(chat_id).encode(), digest_size=8).hexdigest()


def export_accepted(telemetry: Telemetry, accepted: Iterable[AcceptedEvent], committed_at: float) -> None:
    """Exports ``accept`` and ``enqueue`` of the sampled events that one commit stored."""
    if not telemetry.exports_spans:
        return
    sampled = [pair for pair in accepted if pair[0].trace.sampled]
    telemetry.export_spans(partial(_add_events, events=sampled, committed_at=committed_at), 2 * len(sampled))


def _add_events(writer: SpanWriter, events: Iterable[AcceptedEvent], committed_at: float) -> None:
    for event, messages in events:
        accept = {"cctelegram.event_id": event.id} | _event(event, messages)
        _add_event(writer, event.trace, event.parent, (event.accepted_at, committed_at), accept, {})


def _event(event: EventRecord, messages: Sequence[MessageRecord]) -> Attributes:
    if len(messages) == 1:
        (message,) = messages
        return _message(message.id, message.chat_id, event.type, event.correlation_id)
    return {
        "messaging.batch.message_count": len(messages),
        "cctelegram.event_type": event.type,
        "cctelegram.correlation_id": event.correlation_id,
    }


def _add_event(  # noqa: PLR0917 - one call for each event
    writer: SpanWriter,
    root: TraceContext,
    parent: TraceContext | None,
    times: tuple[float, float],
    accept: Attributes,
    enqueue: Attributes,
) -> None:
    writer.add("accept", accept, parent, *times, context=root, kind=Span.SPAN_KIND_SERVER)
    writer.add("enqueue", enqueue, root, *times, kind=Span.SPAN_KIND_PRODUCER)


def export_attempts(telemetry: Telemetry, batch: Sequence[Settled], settled_at: float) -> None:
    """Exports ``queue``, ``pace``, ``send`` and ``settle`` of the sampled attempts of a batch."""
    if not telemetry.exports_spans:
        return
    sampled = [settled for settled in batch if settled.message.trace.sampled]
    telemetry.export_spans(partial(_add_attempts, batch=sampled, settled_at=settled_at), 4 * len(sampled))


def _add_attempts(writer: SpanWriter, batch: Iterable[Settled], settled_at: float) -> None:
    for settled in batch:
        message, result = settled.message, settled.result
        times = (
            max(message.accepted_at, message.replayed_at or 0.0, message.due_at),
            message.claimed_at - message.limiter_wait,
            message.claimed_at,
            result.started_at,
            result.finished_at,
            settled_at,
        )
        send = _message(message.id, message.chat_id, message.event_type, message.correlation_id)
        send |= _answer(result.outcome, result.reason, settled.decision.state)
        send |= _numbers(result.message_id, result.retry_after)
        error = _error(result.outcome, result.reason, result.detail)
        _add_attempt(writer, message.trace, message.id, message.attempt, times, send, error)


def _add_attempt(  # noqa: PLR0917 - one call for each attempt
    writer: SpanWriter,
    root: TraceContext,
    message_id: str,
    number: int,
    times: AttemptTimes,
    send: Attributes,
    error: str,
) -> None:
    """Only ``send`` has all attributes; each of the four names the message and the attempt."""
    attempt: Attributes = {"cctelegram.message_id": message_id, "cctelegram.attempt": number}
    waiting, pacing, claimed, sent, answered, settled = times
    # The clocks of two machines differ: no span begins before the span that it follows.
    pacing, answered = max(waiting, pacing), max(sent, answered)
    writer.add("queue", attempt, root, waiting, pacing)
    writer.add("pace", attempt, root, pacing, claimed)
    writer.add("send", attempt | send, root, sent, answered, kind=Span.SPAN_KIND_CLIENT, error=error)
    writer.add("settle", attempt, root, answered, settled)


def export_unattempted(telemetry: Telemetry, settled: Settled, at: float) -> None:
    """Exports the one span of a sampled message that ended without an attempt: ``queue``, until its end."""
    message = settled.message
    if not telemetry.exports_spans or not message.trace.sampled:
        return
    queue = _message(message.id, message.chat_id, message.event_type, message.correlation_id)
    queue |= _end(settled.decision.state, settled.result.reason)
    telemetry.export_spans(lambda writer: _add_end(writer, message.trace, message.entered_at, at, queue), 1)


def _end(state: str, reason: str) -> Attributes:
    return {"cctelegram.state": state, "cctelegram.reason": reason}


def _add_end(writer: SpanWriter, root: TraceContext, start: float, end: float, queue: Attributes) -> None:
    writer.add("queue", queue, root, start, end, error=str(queue["cctelegram.reason"]))


def export_stored(
    telemetry: Telemetry, life: MessageTimeline, committed_at: float | None, *, with_event: bool
) -> None:
    """Exports all spans of a message from its stored rows, whether or not its trace is sampled.

    Args:
        telemetry: of the service.
        life: rows of the message.
        committed_at: when its event was durable; None where another process stored it.
        with_event: also the spans of the event, which its messages share.
    """
    count = 2 * with_event + 4 * len(life.attempts) + len(_ends(life))
    add = partial(_add_stored, life=life, committed_at=committed_at, with_event=with_event)
    telemetry.export_spans(add, count)


def _add_stored(
    writer: SpanWriter, life: MessageTimeline, committed_at: float | None, *, with_event: bool
) -> None:
    row = life.message
    root = TraceContext.parse(row["traceparent"])
    assert root is not None, row["traceparent"]  # noqa: S101 - this code wrote it
    message = _message(row["id"], row["chat_id"], row["type"], row["correlation_id"])
    message |= {"cctelegram.event_id": row["event_id"], "cctelegram.kept": True}
    if with_event:
        measured: Attributes = {"cctelegram.commit_measured": committed_at is not None}
        # Where the end of the commit is unknown, the time is known when the rows went to the disk before it.
        end = committed_at or row["written_at"] or row["accepted_at"]
        _add_event(writer, root, None, (row["accepted_at"], end), message | measured, measured)
    waiting_from = row["accepted_at"]
    for attempt in life.attempts:
        _add_stored_attempt(writer, root, message, attempt, waiting_from)
        waiting_from = attempt["settled_at"] or attempt["claimed_at"]
    for change in _ends(life):
        queue = message | _end(change["state"], row["reason"])
        _add_end(writer, root, waiting_from, change["at"], queue)


def _ends(life: MessageTimeline) -> list[Any]:
    """The change of state that ended the message, where that was no attempt."""
    row = life.message
    return [
        change
        for change in life.changes
        if change["state"] == row["state"] and change["at"] == row["finished_at"]
    ]


def _add_stored_attempt(
    writer: SpanWriter, root: TraceContext, message: Attributes, row: Any, waiting_from: float
) -> None:
    """An attempt that a crash interrupted has no answer: its outcome is unknown."""
    claimed = row["claimed_at"]
    started = row["started_at"] or claimed
    finished = row["finished_at"] or started
    pacing = claimed - row["limiter_wait"]
    times = waiting_from, pacing, claimed, started, finished, row["settled_at"] or finished
    outcome, reason = row["outcome"] or Outcome.UNKNOWN, row["reason"] or Reason.WORKER_LOST
    send = message | _answer(outcome, reason, row["state"] or "")
    send |= _numbers(row["telegram_message_id"], row["retry_after"])
    error = _error(outcome, reason, row["detail"] or "")
    message_id = str(message["cctelegram.message_id"])
    _add_attempt(writer, root, message_id, row["number"], times, send, error)


def _message(message_id: str, chat_id: int, event_type: str, correlation_id: str) -> Attributes:
    return {
        "cctelegram.message_id": message_id,
        "messaging.system": "telegram",
        "messaging.message.id": message_id,
        "cctelegram.chat_hash": chat_hash(chat_id),
        "cctelegram.event_type": event_type,
        "cctelegram.correlation_id": correlation_id,
    }


def _answer(outcome: str, reason: str, state: str) -> Attributes:
    return {
        "messaging.operation.name": "send",
        "cctelegram.outcome": outcome,
        "cctelegram.reason": reason,
        "cctelegram.state": state,
    }


def _numbers(telegram_id: int | None, retry_after: float | None) -> Attributes:
    numbers: Attributes = {}
    if telegram_id is not None:
        numbers["cctelegram.telegram_message_id"] = telegram_id
    if retry_after is not None:
        numbers["cctelegram.retry_after_seconds"] = retry_after
    return numbers


def _error(outcome: str, reason: str, detail: str) -> str:
    return "" if outcome == Outcome.SENT else f"{reason}: {detail}"
