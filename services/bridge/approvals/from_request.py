"""From a request's body to a question, or a refusal that names the field."""

from collections.abc import Mapping

import uuid_utils
from fastapi import Request
from opentelemetry import trace as otel

from services.bridge.approvals import approval as domain
from services.bridge.approvals.approval import Approval, Option
from services.bridge.bots import DEFAULT, Bot
from services.bridge.webhooks.destinations import Destinations
from services.contracts.approvals import (
    LONGEST_LIFE_SECONDS,
    SHORTEST_LIFE_SECONDS,
    NewApproval,
)
from services.kit import logs
from services.kit.errors import invalid_input
from services.kit.telemetry.telemetry import Telemetry, TraceContext

NOBODY = "nobody may decide: set TELEGRAM_ALLOWED_USERS"
NOT_THEN = "this time is not between 5 seconds and 30 days from now"


def check_callback(new: NewApproval, destinations: Destinations) -> None:
    refusal = destinations.refusal(new.callback_url) if new.callback_url else None
    if refusal:
        raise invalid_input([{"loc": ["body", "callback_url"], "msg": refusal}])


def bot(new: NewApproval, bots: Mapping[str, Bot]) -> Bot:
    """The bot that asks."""
    found = bots.get(new.bot or DEFAULT)
    if found is None:
        there = ", ".join(bots)
        raise invalid_input([{"loc": ["body", "bot"], "msg": f"no bot has this name; there are {there}"}])
    return found


def approval(
    new: NewApproval, by: Bot, client: str, *, trace: TraceContext, expires_in: float, now: float
) -> Approval:
    """The question that is to be stored.

    Args:
        new: the request's body.
        by: the bot that asks.
        client: name of the caller's key.
        trace: that the question belongs to.
        expires_in: seconds until it expires, where the body gives no time.
        now: seconds since the epoch.

    Raises:
        Problem: 422, names the wrong field.
    """
    identifier, event_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    return Approval(
        id=identifier,
        code="",
        token=domain.new_token(),
        title=new.title,
        prompt=new.prompt,
        options=tuple(Option(option.value, option.label) for option in new.options),
        approvers=_approvers(new, by.allowed),
        bot=by.name,
        client=client,
        source=new.source,
        severity=new.severity.value,
        correlation_id=new.correlation_id or logs.correlation_id.get() or identifier,
        event_id=event_id,
        trace=trace,
        created_at=now,
        expires_at=_expires_at(new, now, expires_in),
        callback_url=new.callback_url,
        metadata=new.metadata,
    )


def _approvers(new: NewApproval, allowed: frozenset[int]) -> tuple[int, ...]:
    if new.approvers is None:
        if not allowed:
            raise invalid_input([{"loc": ["body", "approvers"], "msg": NOBODY}])
        return tuple(sorted(allowed))
    wrong = [
        {"loc": ["body", "approvers", index], "msg": f"{user} is not in TELEGRAM_ALLOWED_USERS"}
        for index, user in enumerate(new.approvers)
        if user not in allowed
    ]
    if wrong:
        raise invalid_input(wrong)
    return tuple(sorted(set(new.approvers)))


def _expires_at(new: NewApproval, now: float, default: float) -> float:
    if new.expires_at is None:
        return now + (default if new.expires_in is None else new.expires_in)
    try:
        at = new.expires_at.timestamp()
    except (OverflowError, ValueError):
        at = float("inf")
    if not lives(at, now):
        raise invalid_input([{"loc": ["body", "expires_at"], "msg": NOT_THEN}])
    return at


def lives(until: float, now: float) -> bool:
    """Whether a question may be open until then."""
    return now + SHORTEST_LIFE_SECONDS <= until <= now + LONGEST_LIFE_SECONDS


def trace(request: Request, telemetry: Telemetry) -> TraceContext:
    """Under the request's own span where there is one, else under the caller's."""
    current = otel.get_current_span().get_span_context()
    if current.is_valid:
        return TraceContext(current.trace_id, current.span_id, current.trace_flags.sampled).child()
    parent = TraceContext.parse(request.headers.get("traceparent"))
    return parent.child() if parent else telemetry.new_trace()
