"""From a request's body to a question, or a refusal that names the field."""

import uuid_utils
from fastapi import Request
from opentelemetry import trace as otel

from services.bridge.approvals import approval as domain
from services.bridge.approvals.approval import Approval, Option
from services.bridge.settings import BridgeSettings
from services.bridge.webhooks.destinations import Destinations
from services.contracts.approvals import (
    LONGEST_LIFE_SECONDS,
    SHORTEST_LIFE_SECONDS,
    NewApproval,
)
from services.kit import logs
from services.kit.errors import invalid_input
from services.kit.telemetry import Telemetry, TraceContext


def check_callback(new: NewApproval, destinations: Destinations) -> None:
    refusal = destinations.refusal(new.callback_url) if new.callback_url else None
    if refusal:
        raise invalid_input([{"loc": ["body", "callback_url"], "msg": refusal}])


def approval(request: Request, new: NewApproval, settings: BridgeSettings, now: float) -> Approval:
    identifier, event_id = str(uuid_utils.uuid7()), str(uuid_utils.uuid7())
    return Approval(
        id=identifier,
        code="",
        token=domain.new_token(),
        title=new.title,
        prompt=new.prompt,
        options=tuple(Option(option.value, option.label) for option in new.options),
        approvers=_approvers(new, settings),
        bot=settings.engine().bot_name,
        source=new.source,
        severity=new.severity.value,
        correlation_id=new.correlation_id or logs.correlation_id.get() or identifier,
        event_id=event_id,
        trace=trace(request),
        created_at=now,
        expires_at=_expires_at(new, now, settings.approval_expires_seconds),
        callback_url=new.callback_url,
        metadata=new.metadata,
    )


def _approvers(new: NewApproval, settings: BridgeSettings) -> tuple[int, ...]:
    allowed = settings.allowed_users
    if new.approvers is None:
        if not allowed:
            text = "nobody may decide: set TELEGRAM_ALLOWED_USERS"
            raise invalid_input([{"loc": ["body", "approvers"], "msg": text}])
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
    if not now + SHORTEST_LIFE_SECONDS <= at <= now + LONGEST_LIFE_SECONDS:
        text = "this time is not between 5 seconds and 30 days from now"
        raise invalid_input([{"loc": ["body", "expires_at"], "msg": text}])
    return at


def trace(request: Request) -> TraceContext:
    """Under the request's own span where there is one, else under the caller's."""
    telemetry: Telemetry = request.state.telemetry
    current = otel.get_current_span().get_span_context()
    if current.is_valid:
        return TraceContext(current.trace_id, current.span_id, current.trace_flags.sampled).child()
    parent = TraceContext.parse(request.headers.get("traceparent"))
    return parent.child() if parent else telemetry.new_trace()
