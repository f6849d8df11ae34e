"""Calls that ask people, and read what they answered and sent."""

from dataclasses import replace
from datetime import datetime

from services.client import call
from services.client.call import Call
from services.contracts.approvals import Approvals, ApprovalStatus, ApprovalView, Cancel, Decide, NewApproval
from services.contracts.responses import Responses

_APPROVALS = "/api/v1/approvals"


def ask(question: NewApproval, *, key: str | None = None) -> Call[ApprovalView]:
    """Asks people a question. The answer comes once the question is on disk; `answer` waits for people.

    A question that may be on disk already is not given up for ten minutes: people may be looking at it.

    Args:
        question: the question.
        key: Idempotency-Key; None: a new one, so that retries of this call ask once.
    """
    posted = call.post(ApprovalView, _APPROVALS, question, key=key or call.new_key())
    return replace(posted, patience_if_unknown=call.OUTAGE_SECONDS)


def approval(approval_id: str, *, wait: float = 0) -> Call[ApprovalView]:
    """Reads a question; the service waits up to 55 seconds until it is settled, if ``wait`` says so.

    It is settled once it is closed, or ``undelivered``: open, but no chat shows it.
    """
    target = call.path(f"{_APPROVALS}/{{}}", approval_id)
    return call.get(ApprovalView, target, {"wait": wait} if wait else None, waits=wait)


def approvals(
    *,
    status: ApprovalStatus | None = None,
    correlation_id: str | None = None,
    bot: str | None = None,
    client: str | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Call[Approvals]:
    """Lists questions, newest first; ``client`` is the name of the key that asked."""
    query: call.Query = {
        "status": status,
        "correlation_id": correlation_id,
        "bot": bot,
        "client": client,
        "cursor": cursor,
        "limit": limit,
    }
    return call.get(Approvals, _APPROVALS, query)


def decide(
    approval_id: str, option: str | None = None, *, text: str | None = None, by: str = "", comment: str = ""
) -> Call[ApprovalView]:
    """Decides a question. `ConflictError`: it is closed.

    Args:
        approval_id: the question.
        option: a value, a label or a number.
        text: instead of an option, if the question is answered by a text.
        by: who decides.
        comment: shown with the decision.
    """
    decision = Decide(option=option, text=text, by=by, comment=comment)
    return call.post(ApprovalView, call.path(f"{_APPROVALS}/{{}}/decide", approval_id), decision)


def cancel_approval(approval_id: str, *, by: str = "", reason: str = "") -> Call[ApprovalView]:
    """Cancels a question. `ConflictError`: it is closed."""
    cancellation = Cancel(by=by, reason=reason)
    return call.post(ApprovalView, call.path(f"{_APPROVALS}/{{}}/cancel", approval_id), cancellation)


def responses(
    *,
    since: datetime | None = None,
    correlation_id: str | None = None,
    bot: str | None = None,
    cursor: str | None = None,
    limit: int = 100,
    wait: float = 0,
) -> Call[Responses]:
    """Lists what people sent, oldest first; with ``wait`` an empty page takes that many seconds."""
    query: call.Query = {
        "since": since,
        "correlation_id": correlation_id,
        "bot": bot,
        "cursor": cursor,
        "limit": limit,
        "wait": wait or None,
    }
    return call.get(Responses, "/api/v1/responses", query, waits=wait)


def response_file(response_id: str) -> Call[bytes]:
    """Reads the file that a person sent. `ConflictError`: it is too large for the Bot API."""
    target = call.path("/api/v1/responses/{}/file", response_id)
    return Call(method="GET", target=target, read=bytes, repeatable=True)
