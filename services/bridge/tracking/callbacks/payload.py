"""What is told of a message's end. Pure."""

from typing import Any

import orjson

from services.kit.clock import rfc3339
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.change_feed import Change
from services.outbox.messages import MessageState

KIND = "message"
_NAMES = {
    MessageState.DELIVERED.value: "message.delivered",
    MessageState.DEAD_LETTER.value: "message.failed",
    MessageState.UNKNOWN.value: "message.unknown",
    MessageState.SUPPRESSED.value: "message.suppressed",
    MessageState.EXPIRED.value: "message.expired",
    MessageState.CANCELLED.value: "message.cancelled",
}
ENDINGS = frozenset(_NAMES)


def body(change: Change) -> str:
    """The call's body: what happened, when, and to which message."""
    row = change.message
    trace = TraceContext.parse(row["traceparent"])
    ids = row["telegram_message_ids"]
    told: dict[str, Any] = {
        "type": _NAMES[change.state],
        "timestamp": rfc3339(change.at),
        "data": {
            "message_id": row["id"],
            "event_id": row["event_id"],
            "event_type": row["type"],
            "title": row["title"],
            "chat_id": row["chat_id"],
            "bot": row["bot"],
            "status": change.state,
            "reason": change.cause or None,
            "attempts": row["attempts"],
            "possible_duplicate": row["possible_duplicate"],
            "telegram_message_ids": [int(part) for part in ids.split(",")] if ids else [],
            "accepted_at": rfc3339(row["accepted_at"]),
            "correlation_id": row["correlation_id"],
            "trace_id": f"{trace.trace_id:032x}" if trace else None,
        },
    }
    return orjson.dumps(told).decode()
