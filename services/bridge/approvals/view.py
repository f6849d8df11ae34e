"""Contract models of approvals, for the API and the result webhook. Pure."""

from collections.abc import Sequence
from typing import Any

import orjson

from services.bridge.approvals.approval import Approval, ApprovalState
from services.bridge.approvals.queries import ApprovalDetails
from services.bridge.keys.keys import Key
from services.bridge.webhooks.visible_url import visible_url
from services.contracts.approvals import (
    Answer,
    ApprovalLinks,
    ApprovalView,
    Approver,
    Callback,
    Decision,
    NewOption,
    QuestionMessage,
)
from services.contracts.stored import from_row
from services.contracts.webhooks import ApprovalResult
from services.kit.clock import rfc3339


def approval_view(found: ApprovalDetails, trace_url: str, reader: Key) -> ApprovalView:
    """An approval with its messages, answers and callback.

    Args:
        found: the approval and its rows.
        trace_url: of the trace viewer; empty: the view has no link to the trace.
        reader: who reads it; another client's ``callback_url`` has scheme, host and port only.
    """
    a = found.approval
    url = a.callback_url
    cancelled = a.state is ApprovalState.CANCELLED
    trace_id = f"{a.trace.trace_id:032x}"
    return from_row(
        ApprovalView,
        id=a.id,
        code=a.code,
        status=a.status,
        visible_in=found.reach.visible_in,
        perhaps_visible_in=found.reach.perhaps_visible_in,
        undelivered_at=_time(a.undelivered_at),
        bot=a.bot,
        client=a.client,
        title=a.title,
        prompt=a.prompt,
        options=[NewOption.model_construct(value=option.value, label=option.label) for option in a.options],
        approvers=list(a.approvers),
        answer="option" if a.text_limit is None else "text",
        max_length=a.text_limit,
        needed=a.needed,
        approved_by=approved_by(a),
        source=a.source,
        correlation_id=a.correlation_id,
        event_id=a.event_id,
        trace_id=trace_id,
        created_at=rfc3339(a.created_at),
        expires_at=rfc3339(a.expires_at),
        closed_at=_time(a.closed_at),
        decision=decision(a),
        cancelled_by=a.closed_by.name if cancelled and a.closed_by else None,
        reason=a.comment if cancelled else None,
        callback_url=visible_url(url) if url and not reader.sees_urls_of(a.client) else url,
        metadata=a.metadata,
        messages=[_message(row) for row in found.messages],
        answers=[_answer(row) for row in found.answers],
        callback=_callback(a, found.calls),
        links=ApprovalLinks(
            self=f"/api/v1/approvals/{a.id}",
            event=f"/api/v1/events/{a.event_id}",
            trace=f"{trace_url}/trace/{trace_id}" if trace_url else None,
        ),
    )


def _message(row: Any) -> QuestionMessage:
    return from_row(
        QuestionMessage,
        message_id=row["message_id"],
        chat_id=row["chat_id"],
        kind=row["kind"],
        status=row["state"],
        last_error=None if row["reason"] == "none" else row["reason"],
    )


def _answer(row: Any) -> Answer:
    return from_row(
        Answer,
        at=rfc3339(row["at"]),
        via=row["via"],
        user_id=row["user_id"],
        name=row["name"],
        option=row["option"],
        text=row["text"],
        outcome=row["outcome"],
    )


def _callback(of: Approval, calls: Sequence[Any]) -> Callback | None:
    """The last call to the approval's own URL; there may be others to the endpoint of its key."""
    call = next((call for call in reversed(calls) if call["url"] == of.callback_url), None)
    return (
        None
        if call is None
        else from_row(
            Callback,
            id=call["id"],
            type=_type_of(call["body"]),
            status=call["state"],
            attempts=call["attempts"],
            last_error=call["last_error"],
            next_attempt_at=_time(call["due_at"]) if call["state"] == "waiting" else None,
        )
    )


def _type_of(body: str) -> str:
    """The type of a webhook call, from its body; empty where it has none."""
    try:
        return str(orjson.loads(body)["type"])
    except (LookupError, TypeError, ValueError):
        return ""


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def approval_result(closed: Approval) -> ApprovalResult:
    """Body of the webhook that reports a closed approval."""
    reason = closed.comment if closed.state is ApprovalState.CANCELLED else None
    return _result(closed, closed.closed_at or closed.expires_at, reason)


def undelivered_result(approval: Approval, why: str, now: float) -> ApprovalResult:
    """Body of the webhook that reports an approval whose question reaches nobody.

    Args:
        approval: with the status ``undelivered``.
        why: the reasons of its messages.
        now: seconds since the epoch.
    """
    return _result(approval, now, why)


def _result(of: Approval, at: float, reason: str | None) -> ApprovalResult:
    return ApprovalResult.model_validate(
        {
            "type": f"approval.{of.status}",
            "timestamp": rfc3339(at),
            "data": {
                "id": of.id,
                "status": of.status,
                "title": of.title,
                "correlation_id": of.correlation_id,
                "event_id": of.event_id,
                "decision": decision(of),
                "needed": of.needed,
                "approved_by": approved_by(of),
                "reason": reason,
                "metadata": of.metadata,
            },
        }
    )


def approved_by(of: Approval) -> list[Approver]:
    """Who has chosen the first option, if that needs several people."""
    return [
        from_row(Approver, name=one.by.name, user_id=one.by.user_id, via=one.via.value, at=rfc3339(one.at))
        for one in of.votes
    ]


def decision(closed: Approval) -> Decision | None:
    """The decision; None if the approval was not decided."""
    choice, text = closed.choice, closed.answer_text
    if (choice is None and text is None) or closed.closed_by is None or closed.via is None:
        return None
    return from_row(
        Decision,
        option=choice.value if choice else None,
        label=choice.label if choice else None,
        text=text,
        by=closed.closed_by.name,
        user_id=closed.closed_by.user_id,
        via=closed.via.value,
        comment=closed.comment,
    )
