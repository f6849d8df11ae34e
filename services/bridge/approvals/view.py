"""A question as the API and the result webhook tell it. Pure: from rows to JSON."""

from typing import Any

from services.bridge.approvals.approval import Approval, State
from services.bridge.approvals.store import Whole
from services.kit.clock import rfc3339


def whole(found: Whole, trace_url: str) -> dict[str, Any]:
    """A question as the API tells it."""
    a = found.approval
    cancelled = a.state is State.CANCELLED
    trace_id = f"{a.trace.trace_id:032x}"
    return {
        "id": a.id,
        "code": a.code,
        "status": a.state.value,
        "bot": a.bot,
        "client": a.client,
        "title": a.title,
        "prompt": a.prompt,
        "options": [{"value": option.value, "label": option.label} for option in a.options],
        "approvers": list(a.approvers),
        "source": a.source,
        "correlation_id": a.correlation_id,
        "event_id": a.event_id,
        "trace_id": trace_id,
        "created_at": rfc3339(a.created_at),
        "expires_at": rfc3339(a.expires_at),
        "closed_at": _time(a.closed_at),
        "decision": decision(a),
        "cancelled_by": a.closed_by.name if cancelled and a.closed_by else None,
        "reason": a.comment if cancelled else None,
        "callback_url": a.callback_url,
        "metadata": a.metadata,
        "messages": [{key: row[name] for key, name in _MESSAGE.items()} for row in found.messages],
        "answers": [
            {key: row[key] for key in ("via", "user_id", "name", "option", "outcome")}
            | {"at": rfc3339(row["at"])}
            for row in found.answers
        ],
        "callback": _callback(found.calls[-1]) if found.calls else None,
        "links": {
            "self": f"/api/v1/approvals/{a.id}",
            "event": f"/api/v1/events/{a.event_id}",
            "trace": f"{trace_url}/trace/{trace_id}" if trace_url else None,
        },
    }


_MESSAGE = {"message_id": "message_id", "chat_id": "chat_id", "kind": "kind", "status": "state"}


def _callback(call: Any) -> dict[str, Any]:
    return {
        "id": call["id"],
        "status": call["state"],
        "attempts": call["attempts"],
        "last_error": call["last_error"],
        "next_attempt_at": _time(call["due_at"]) if call["state"] == "waiting" else None,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def result(closed: Approval) -> dict[str, Any]:
    """What the asking program is told."""
    return {
        "type": f"approval.{closed.state.value}",
        "timestamp": rfc3339(closed.closed_at or closed.expires_at),
        "data": {
            "id": closed.id,
            "status": closed.state.value,
            "title": closed.title,
            "correlation_id": closed.correlation_id,
            "event_id": closed.event_id,
            "decision": decision(closed),
            "reason": closed.comment if closed.state is State.CANCELLED else None,
            "metadata": closed.metadata,
        },
    }


def decision(closed: Approval) -> dict[str, Any] | None:
    """Who chose what; None where nobody did."""
    if closed.choice is None or closed.closed_by is None or closed.via is None:
        return None
    return {
        "option": closed.choice.value,
        "label": closed.choice.label,
        "by": closed.closed_by.name,
        "user_id": closed.closed_by.user_id,
        "via": closed.via.value,
        "comment": closed.comment,
    }
