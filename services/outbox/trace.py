"""A message's spans, told after the fact from its stored times, under the trace that was answered.

No span is made while a client waits. The verbs are the span names:
accept (the root, or under the client's span) > enqueue, and for each attempt queue, pace, send, settle.
"""

import hashlib
from collections.abc import Sequence

from opentelemetry.trace import SpanKind

from services.kit.telemetry import FinishedSpan, Telemetry
from services.outbox.messages import Claimed, NewEvent, NewMessage, Outcome, Settled

Attributes = dict[str, str | int | float | bool]


def chat_hash(chat_id: int) -> str:
    """Finds a chat's messages in the traces without showing its id to who reads them."""
    return hashlib.blake2s(str(chat_id).encode(), digest_size=8).hexdigest()


def tell_accepted(
    telemetry: Telemetry, event: NewEvent, messages: Sequence[NewMessage], committed_at: float
) -> None:
    """The spans of the request: ``accept``, and within it ``enqueue`` up to the commit."""
    if not telemetry.exports_spans:
        return
    attributes: Attributes = {
        "cctelegram.event_id": event.id,
        "cctelegram.event_type": event.type,
        "cctelegram.correlation_id": event.correlation_id,
        "messaging.batch.message_count": len(messages),
    }
    if len(messages) == 1:
        attributes |= _of_message(messages[0].id, messages[0].chat_id)
    telemetry.write(
        FinishedSpan(
            "accept", event.trace, event.parent, event.accepted_at, committed_at, attributes, SpanKind.SERVER
        )
    )
    telemetry.write(
        FinishedSpan(
            "enqueue",
            event.trace.child(),
            event.trace,
            event.accepted_at,
            committed_at,
            {},
            SpanKind.PRODUCER,
        )
    )


def tell_attempt(telemetry: Telemetry, settled: Settled, settled_at: float) -> None:
    """The spans of one attempt: queue wait, limiter wait, Telegram's answer, the write of the outcome."""
    if not telemetry.exports_spans:
        return
    message, result = settled.message, settled.result
    root = message.trace
    waited_from = max(message.accepted_at, message.due_at)
    pace_from = max(waited_from, message.claimed_at - message.limiter_wait)
    common = _common(message)
    spans = [
        FinishedSpan("queue", root.child(), root, waited_from, pace_from, common),
        FinishedSpan("pace", root.child(), root, pace_from, message.claimed_at, common),
        FinishedSpan(
            "send",
            root.child(),
            root,
            result.started_at,
            result.finished_at,
            common | _of_result(settled),
            SpanKind.CLIENT,
            "" if result.outcome is Outcome.SENT else f"{result.reason.value}: {result.detail}",
        ),
        FinishedSpan("settle", root.child(), root, result.finished_at, settled_at, common),
    ]
    for span in spans:
        telemetry.write(span)


def _common(message: Claimed) -> Attributes:
    return {
        **_of_message(message.id, message.chat_id),
        "cctelegram.event_type": message.event_type,
        "cctelegram.correlation_id": message.correlation_id,
        "cctelegram.attempt": message.attempt,
    }


def _of_message(message_id: str, chat_id: int) -> Attributes:
    return {
        "messaging.system": "telegram",
        "messaging.message.id": message_id,
        "cctelegram.message_id": message_id,
        "cctelegram.chat_hash": chat_hash(chat_id),
    }


def _of_result(settled: Settled) -> Attributes:
    result = settled.result
    attributes: Attributes = {
        "messaging.operation.name": "send",
        "cctelegram.outcome": result.outcome.value,
        "cctelegram.reason": result.reason.value,
        "cctelegram.state": settled.decision.state.value,
    }
    if result.message_id is not None:
        attributes["cctelegram.telegram_message_id"] = result.message_id
    if result.retry_after is not None:
        attributes["cctelegram.retry_after_seconds"] = result.retry_after
    return attributes
