"""Calls that find messages, show their lives, cancel, replay, edit and delete them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.client import call
from services.client.call import Call
from services.contracts.messages import (
    CancelReplayResult,
    DeletionAccepted,
    EditAccepted,
    MessageChanges,
    MessageDetail,
    MessageState,
    Page,
    TracedMessages,
)
from services.contracts.tracking import CorrelationTimeline

_MESSAGES = "/api/v1/messages"


def messages(
    *,
    status: Sequence[MessageState] = (),
    type: str | None = None,  # noqa: A002 - the API's name
    chat_id: int | None = None,
    bot: str | None = None,
    correlation_id: str | None = None,
    campaign_id: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    q: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Call[Page]:
    """Searches messages, newest first; all conditions must match.

    Args:
        status: in one of these states.
        type: of the event.
        chat_id: the recipient.
        bot: that sends it.
        correlation_id: of the event.
        campaign_id: of the event.
        since: accepted at or after this time, which has a zone.
        until: accepted before this time, which has a zone.
        q: part of the title.
        cursor: ``next_cursor`` of the previous page.
        limit: largest number of messages, up to 500.
    """
    query: call.Query = {
        "status": status,
        "type": type,
        "chat_id": chat_id,
        "bot": bot,
        "correlation_id": correlation_id,
        "campaign_id": campaign_id,
        "since": since,
        "until": until,
        "q": q,
        "cursor": cursor,
        "limit": limit,
    }
    return call.get(Page, _MESSAGES, query)


def message(message_id: str) -> Call[MessageDetail]:
    """Reads a message with every state change and every attempt."""
    return call.get(MessageDetail, call.path(f"{_MESSAGES}/{{}}", message_id))


def cancel(message_id: str, *, reason: str = "") -> Call[CancelReplayResult]:
    """Cancels a message that is not sent yet. `ConflictError`: it is too late."""
    return call.post(
        CancelReplayResult, call.path(f"{_MESSAGES}/{{}}/cancel", message_id), {"reason": reason}
    )


def replay(message_id: str, *, reason: str = "") -> Call[CancelReplayResult]:
    """Puts an undelivered message back into the queue. `ConflictError`: it is delivered or not finished."""
    return call.post(
        CancelReplayResult, call.path(f"{_MESSAGES}/{{}}/replay", message_id), {"reason": reason}
    )


def edit(message_id: str, changes: MessageChanges) -> Call[EditAccepted]:
    """Changes the given fields of a delivered message. `ConflictError`: it is not delivered, or has parts."""
    body = changes.model_dump(mode="json", include=changes.model_fields_set)
    edited = call.patch(EditAccepted, call.path(f"{_MESSAGES}/{{}}", message_id), body)
    return replace(edited, repeatable=False)


def delete(message_id: str) -> Call[DeletionAccepted]:
    """Deletes a message in the chat, or cancels one that waits. `ConflictError`: it was never sent."""
    target = call.path(f"{_MESSAGES}/{{}}", message_id)
    return Call(method="DELETE", target=target, read=DeletionAccepted.model_validate_json, repeatable=True)


def traces(*, active: bool = True, cursor: str | None = None, limit: int = 50) -> Call[TracedMessages]:
    """Lists messages with every state that they were in; ``active``: only unfinished ones."""
    return call.get(TracedMessages, "/api/v1/traces", {"active": active, "cursor": cursor, "limit": limit})


def correlation(correlation_id: str) -> Call[CorrelationTimeline]:
    """Reads everything that happened under a correlation id."""
    return call.get(CorrelationTimeline, call.path("/api/v1/traces/{}", correlation_id))
