"""The webhook body for a message that reached its final state. Pure."""

from services.bridge.tracking import message_view
from services.contracts.stored import from_row
from services.contracts.webhooks import MessageData, MessageResult
from services.kit.clock import rfc3339
from services.outbox.change_feed import Change
from services.outbox.messages import MessageState
from services.outbox.queries.message_rows import telegram_ids

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
    data = from_row(
        MessageData,
        message_id=row["id"],
        event_id=row["event_id"],
        event_type=row["type"],
        title=row["title"],
        chat_id=row["chat_id"],
        bot=row["bot"],
        status=change.state,
        reason=change.cause or None,
        attempts=row["attempts"],
        possible_duplicate=row["possible_duplicate"],
        telegram_message_ids=telegram_ids(row["telegram_message_ids"]),
        accepted_at=rfc3339(row["accepted_at"]),
        correlation_id=row["correlation_id"],
        trace_id=message_view.trace_id(row["traceparent"]),
    )
    ended = {"type": _TYPES[change.state], "timestamp": rfc3339(change.at), "data": data}
    return MessageResult.model_validate(ended).model_dump_json()
