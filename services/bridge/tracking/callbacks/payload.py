"""The webhook body for a message that reached its final state. Pure."""

from services.bridge.tracking import message_view
from services.contracts.webhooks import MessageResult
from services.kit.clock import rfc3339
from services.outbox.change_feed import Change
from services.outbox.messages import MessageState

KIND = "message"
_TYPES = {
    MessageState.DELIVERED.value: "message.delivered",
    MessageState.DEAD_LETTER.value: "message.failed",
    MessageState.UNKNOWN.value: "message.unknown",
    MessageState.SUPPRESSED.value: "message.suppressed",
    MessageState.EXPIRED.value: "message.expired",
    MessageState.CANCELLED.value: "message.cancelled",
}
ENDINGS = frozenset(_TYPES)


def body(change: Change) -> str:
    """The body as JSON."""
    row = change.message
    ids = row["telegram_message_ids"]
    result = MessageResult.model_validate(
        {
            "type": _TYPES[change.state],
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
                "trace_id": message_view.trace_id(row["traceparent"]),
            },
        }
    )
    return result.model_dump_json()
