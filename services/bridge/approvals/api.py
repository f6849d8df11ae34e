"""Routes of questions to people."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

import uuid_utils
from fastapi import APIRouter, Header, Query, Request, Response
from opentelemetry import trace as otel
from pydantic import BaseModel
from sqlalchemy import Connection

from services.bridge import waiting
from services.bridge.approvals import approval as domain
from services.bridge.approvals import store
from services.bridge.approvals.approval import Approval, Option, Outcome, State, Via, Who
from services.bridge.approvals.news import News
from services.bridge.approvals.store import Changed, Whole
from services.bridge.said import Recipient
from services.bridge.settings import BridgeSettings
from services.bridge.webhooks.destinations import Destinations
from services.contracts.approvals import (
    LONGEST_LIFE_SECONDS,
    SHORTEST_LIFE_SECONDS,
    ApprovalView,
    Cancel,
    Decide,
    NewApproval,
)
from services.kit import logs
from services.kit.clock import Clock, rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.telemetry import Telemetry, TraceContext
from services.outbox.engine import Outbox
from services.outbox.messages import IdempotencyKey, Submission

router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"])

LONGEST_WAIT = 55
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    404: {"description": "there is no such question", "content": {"application/problem+json": {}}},
    409: {"description": "it is closed already", "content": {"application/problem+json": {}}},
    422: {
        "description": "the input is wrong: one entry a field",
        "content": {"application/problem+json": {}},
    },
}


@router.post(
    "",
    status_code=201,
    summary="Ask people: the first answer wins",
    response_model=ApprovalView,
    responses={422: _PROBLEMS[422]},
)
async def ask(
    request: Request,
    response: Response,
    new: NewApproval,
    idempotency_key: Annotated[str | None, Header(max_length=255, min_length=1)] = None,
) -> Any:
    """Answers once the question is on disk; ``GET`` with ``wait`` tells the answer."""
    state = request.state
    clock: Clock = state.clock
    settings: BridgeSettings = state.settings
    now = clock.time()
    _check_callback(new, state.webhook_destinations)
    asked = _approval(request, new, settings, now)
    chats = (
        new.chat_id if isinstance(new.chat_id, list) else [new.chat_id] if new.chat_id is not None else None
    )
    to = [
        Recipient(chat_id, new.thread_id, expires_at=asked.expires_at)
        for chat_id in (chats or settings.default_chats)
    ]
    key = _key(request.state.client, idempotency_key, await request.body(), asked.id)
    outbox: Outbox = state.outbox
    stored = await outbox.database.write("approval_ask", partial(_ask, asked=asked, to=to, key=key, now=now))
    if isinstance(stored, str):
        response.headers["Idempotent-Replayed"] = "true"
        asked_id = stored
    else:
        news: News = state.news
        await news.asked(stored, asked.id)
        asked_id = asked.id
    response.headers["Location"] = f"/api/v1/approvals/{asked_id}"
    return _view(await _whole(outbox, asked_id), settings.jaeger_ui_url)


def _ask(
    connection: Connection, asked: Approval, to: Sequence[Recipient], key: IdempotencyKey | None, now: float
) -> Submission | str:
    """Stores the question, or answers the id of the one that the key was used for."""
    if key is not None:
        earlier = store.claim_key(connection, key, now)
        if earlier is not None:
            return earlier
    return store.ask(connection, store.with_code(connection, asked), to, now)


def _key(client: str, given: str | None, body: bytes, answer: str) -> IdempotencyKey | None:
    """Keys of questions are apart from those of events."""
    if given is None:
        return None
    return IdempotencyKey(f"{client}/approvals", given, hashlib.sha256(body).hexdigest(), answer)


def _check_callback(new: NewApproval, destinations: Destinations) -> None:
    refusal = destinations.refusal(new.callback_url) if new.callback_url else None
    if refusal:
        raise invalid_input([{"loc": ["body", "callback_url"], "msg": refusal}])


def _approval(request: Request, new: NewApproval, settings: BridgeSettings, now: float) -> Approval:
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
        trace=_trace(request),
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


def _trace(request: Request) -> TraceContext:
    """Under the request's own span where there is one, else under the caller's."""
    telemetry: Telemetry = request.state.telemetry
    current = otel.get_current_span().get_span_context()
    if current.is_valid:
        return TraceContext(current.trace_id, current.span_id, current.trace_flags.sampled).child()
    parent = TraceContext.parse(request.headers.get("traceparent"))
    return parent.child() if parent else telemetry.new_trace()


class Page(BaseModel):
    items: list[ApprovalView]
    next_cursor: str | None


class Asked(BaseModel, extra="forbid"):
    """Which questions; all of it together."""

    status: Literal["open", "decided", "expired", "cancelled"] | None = None
    correlation_id: Annotated[str, Query(max_length=128)] | None = None
    cursor: Annotated[int, Query(ge=1, le=2**53)] | None = None
    limit: Annotated[int, Query(ge=1, le=500)] = 50


@router.get("", summary="Questions, newest first", response_model=Page)
async def search(request: Request, wanted: Annotated[Asked, Query()]) -> Any:
    outbox: Outbox = request.state.outbox
    settings: BridgeSettings = request.state.settings
    rows = await outbox.database.read(
        "search",
        lambda connection: store.search(
            connection,
            state=wanted.status,
            correlation_id=wanted.correlation_id,
            before=wanted.cursor,
            limit=wanted.limit,
        ),
    )
    items = [_view(Whole(one, [], [], []), settings.jaeger_ui_url) for _, one in rows]
    return {"items": items, "next_cursor": str(rows[-1][0]) if len(rows) == wanted.limit else None}


@router.get(
    "/{approval_id}",
    summary="The question and what became of it; with `wait`, once somebody has answered",
    response_model=ApprovalView,
    responses={404: _PROBLEMS[404]},
)
async def read(
    request: Request,
    approval_id: str,
    wait: Annotated[float, Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for an answer")] = 0,
) -> Any:
    outbox: Outbox = request.state.outbox
    settings: BridgeSettings = request.state.settings
    found = await _whole(outbox, approval_id)

    async def look() -> Whole | None:
        nonlocal found
        found = await _whole(outbox, approval_id)
        return found if found.approval.state is not State.OPEN else None

    if wait and found.approval.state is State.OPEN:
        await waiting.until(request, store.channel(approval_id), look, wait)
    return _view(found, settings.jaeger_ui_url)


@router.post(
    "/{approval_id}/decide",
    summary="Decide without Telegram; audited like any answer",
    response_model=ApprovalView,
    responses=_PROBLEMS,
)
async def decide(request: Request, approval_id: str, decision: Decide) -> Any:
    outbox: Outbox = request.state.outbox
    clock: Clock = request.state.clock
    who = Who(decision.by or "an API client")
    trace = _trace(request)

    def work(connection: Connection) -> Changed:
        asked = _found(store.by_id(connection, approval_id))
        chosen = domain.option_named(asked.options, decision.option)
        return store.answer(
            connection, asked, who, Via.API, chosen, now=clock.time(), comment=decision.comment, trace=trace
        )

    changed = await outbox.database.write("approval_answer", work)
    news: News = request.state.news
    news.answered(Via.API, changed.outcome)
    await news.closed([changed])
    if changed.outcome is Outcome.NO_SUCH_OPTION:
        values = ", ".join(option.value for option in changed.approval.options)
        raise invalid_input([{"loc": ["body", "option"], "msg": f"the options are {values}"}])
    return await _answer_unless_closed(request, changed, Outcome.DECIDED)


@router.post(
    "/{approval_id}/cancel",
    summary="Take the question back",
    response_model=ApprovalView,
    responses=_PROBLEMS,
)
async def cancel(request: Request, approval_id: str, wanted: Cancel | None = None) -> Any:
    outbox: Outbox = request.state.outbox
    clock: Clock = request.state.clock
    wanted = wanted or Cancel()
    trace = _trace(request)

    def work(connection: Connection) -> Changed:
        asked = _found(store.by_id(connection, approval_id))
        who = Who(wanted.by or "an API client")
        return store.cancel(connection, asked, who, reason=wanted.reason, now=clock.time(), trace=trace)

    changed = await outbox.database.write("approval_cancel", work)
    news: News = request.state.news
    await news.closed([changed])
    return await _answer_unless_closed(request, changed, Outcome.CANCELLED)


async def _answer_unless_closed(request: Request, changed: Changed, wanted: Outcome) -> dict[str, Any]:
    outbox: Outbox = request.state.outbox
    settings: BridgeSettings = request.state.settings
    view = _view(await _whole(outbox, changed.approval.id), settings.jaeger_ui_url)
    if changed.outcome is not wanted:
        raise Problem(409, "Already closed", f"The question is {_state(changed)}.", approval=view)
    return view


def _state(changed: Changed) -> str:
    """Expired already where the clock says so, a moment before the row does."""
    return "expired" if changed.outcome is Outcome.EXPIRED else changed.approval.state.value


def _found(asked: Approval | None) -> Approval:
    if asked is None:
        raise Problem(404, "Not Found", "There is no question with this id.")
    return asked


async def _whole(outbox: Outbox, approval_id: str) -> Whole:
    found = await outbox.database.read("read", lambda connection: store.whole(connection, approval_id))
    if found is None:
        raise Problem(404, "Not Found", "There is no question with this id.")
    return found


def _view(whole: Whole, trace_url: str) -> dict[str, Any]:
    """A question as the API tells it."""
    a = whole.approval
    cancelled = a.state is State.CANCELLED
    trace_id = f"{a.trace.trace_id:032x}"
    return {
        "id": a.id,
        "code": a.code,
        "status": a.state.value,
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
        "decision": store.decision(a),
        "cancelled_by": a.closed_by.name if cancelled and a.closed_by else None,
        "reason": a.comment if cancelled else None,
        "callback_url": a.callback_url,
        "metadata": a.metadata,
        "messages": [{key: row[name] for key, name in _MESSAGE.items()} for row in whole.messages],
        "answers": [
            {key: row[key] for key in ("via", "user_id", "name", "option", "outcome")}
            | {"at": rfc3339(row["at"])}
            for row in whole.answers
        ],
        "callback": _callback(whole.calls[-1]) if whole.calls else None,
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
