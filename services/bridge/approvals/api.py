"""REST routes of approvals."""

from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from services.bridge import long_poll
from services.bridge.approvals import approval as domain
from services.bridge.approvals import decisions, from_request, queries, store, view
from services.bridge.approvals.approval import Actor, AnswerOutcome, AnswerVia, Approval, Given
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.keys.keys import Key
from services.bridge.state import BridgeState, CallerKey, State
from services.contracts.approvals import (
    Approvals,
    ApprovalStatus,
    ApprovalView,
    Cancel,
    Decide,
    NewApproval,
)
from services.contracts.fields import AN_ID, BotName, Words, about
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems

T = TypeVar("T")
router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"])

LONGEST_WAIT = 55
_NOT_FOUND = problems({404: "no approval has this id"})
_CLOSED = _NOT_FOUND | problems({409: "the approval is closed already; `approval` has its state"})
_CREATED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "the approval is stored on disk, by this request or an earlier one",
        "headers": {
            "Location": {
                "description": "path of the approval",
                "schema": {"type": "string", "examples": [f"/api/v1/approvals/{AN_ID}"]},
            },
            "Idempotent-Replayed": {
                "description": "`true` if an earlier request with the same key created it",
                "schema": {"type": "string", "examples": ["true"]},
            },
        },
    },
    **problems(
        {422: "the input is invalid: one entry a field; or the Idempotency-Key was used with another body"}
    ),
}
Id = Annotated[Words, Path(description="id of the approval", examples=[AN_ID])]


@router.post(
    "",
    status_code=201,
    summary="Create an approval: people get a question with buttons; one valid answer decides, or several",
    responses=_CREATED,
)
async def create(
    request: Request,
    response: Response,
    *,
    state: State,
    caller: CallerKey,
    new: NewApproval,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=255,
            min_length=1,
            description="for 24 hours a repetition with the same key and body returns the same approval",
            examples=["deploy-2.1"],
        ),
    ] = None,
) -> ApprovalView:
    """Responds once the approval is stored. `GET` with `wait` waits for the decision."""
    now = state.clock.time()
    from_request.check_callback(new, state.inbound.destinations)
    bot = from_request.find_bot(new, state.bots)
    named = from_request.named_chats(new, bot)
    chats = from_request.chat_ids(new, bot, await state.chats.find(named) if named else {})
    approval = from_request.new_approval(
        new,
        bot,
        caller.name,
        trace=from_request.request_span(request, state.telemetry),
        expires_in=state.settings.approval_expires_seconds,
        now=now,
    )
    key = from_request.approval_key(caller.name, idempotency_key, await request.body(), approval.id)
    work = partial(
        from_request.create,
        approval=approval,
        to=from_request.recipients(new, chats, approval),
        key=key,
        templates=state.templates,
        plan=from_request.plan_of(new, bot, now),
        now=now,
    )
    created = await state.outbox.database.write("approval_ask", work)
    if isinstance(created, str):
        response.headers["Idempotent-Replayed"] = "true"
        approval_id = created
    else:
        await state.inbound.publisher.created(created, approval.id)
        approval_id = approval.id
    response.headers["Location"] = f"/api/v1/approvals/{approval_id}"
    return await _view(state, caller, approval_id)


class ApprovalFilter(BaseModel, extra="forbid"):
    """Which approvals to list; all given conditions apply together."""

    status: Annotated[
        ApprovalStatus | None, about("state of the approval; `open` is without `undelivered`", "open")
    ] = None
    correlation_id: Annotated[Words | None, about("correlation id of the approval", "order-4711")] = None
    bot: Annotated[BotName | None, about("bot that shows the question", "default")] = None
    client: Annotated[Words | None, about("name of the key that created the approval", "ci")] = None
    cursor: Annotated[
        int | None, Query(ge=1, le=2**53), about("`next_cursor` of the previous page", 4711)
    ] = None
    limit: Annotated[int, Query(ge=1, le=500), about("maximum number of approvals", 50)] = 50


@router.get("", summary="List approvals, newest first")
async def search(state: State, caller: CallerKey, filters: Annotated[ApprovalFilter, Query()]) -> Approvals:
    """Without their messages and answers, which `GET /api/v1/approvals/{approval_id}` returns."""
    rows = await state.outbox.database.read(
        "search",
        lambda connection: queries.search(
            connection,
            state=filters.status,
            correlation_id=filters.correlation_id,
            bot=filters.bot,
            client=filters.client,
            before=filters.cursor,
            limit=filters.limit,
        ),
    )
    items = [view.approval_view(one, state.settings.jaeger_ui_url, caller) for _, one in rows]
    return Approvals(items=items, next_cursor=str(rows[-1][0]) if len(rows) == filters.limit else None)


@router.get(
    "/{approval_id}",
    summary="Get an approval with its messages and answers; with `wait`, once it is closed or undelivered",
    responses=_NOT_FOUND,
)
async def read(
    request: Request,
    state: State,
    caller: CallerKey,
    approval_id: Id,
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=LONGEST_WAIT,
            description="seconds to wait until it is closed, or reaches nobody",
            examples=[0.0],
        ),
    ] = 0,
) -> ApprovalView:
    """To wait longer than 55 seconds, repeat the request while `status` is `open`.

    `undelivered` ends a wait at once: the question is open still, but no chat shows it.
    """
    database = state.outbox.database

    async def is_settled() -> bool:
        return await database.read("read", partial(queries.is_settled, approval_id=approval_id))

    if wait:
        key = state.authenticator.ring.watch(caller)
        channel = store.channel(approval_id)
        await long_poll.wait_until(request, database, channel, is_settled, seconds=wait, key=key)
    return await _view(state, caller, approval_id)


@router.post(
    "/{approval_id}/decide",
    summary="Decide an approval without Telegram",
    responses=_CLOSED,
)
async def decide(
    request: Request, state: State, caller: CallerKey, approval_id: Id, decision: Decide
) -> ApprovalView:
    """Has the effect of a tap: the first valid answer decides, messages are edited, the callback is called.

    The answer is recorded with the name of the API key. If the first option needs several people, an API key
    counts as one of them, whatever `by` says, and the approval may stay `open`.
    """
    actor = _api_actor(caller, decision.by)
    trace = from_request.request_span(request, state.telemetry)

    def work(connection: Connection) -> ApprovalChange:
        approval = _existing(store.by_id(connection, approval_id))
        return decisions.answer(
            connection,
            approval,
            actor,
            AnswerVia.API,
            _given(approval, decision),
            now=state.clock.time(),
            comment=decision.comment,
            trace=trace,
        )

    change = await state.outbox.database.write("approval_answer", work)
    publisher = state.inbound.publisher
    publisher.answered(AnswerVia.API, change.outcome)
    await publisher.closed([change])
    if change.outcome is AnswerOutcome.NO_SUCH_OPTION:
        values = ", ".join(option.value for option in change.approval.options)
        raise invalid_input([{"loc": ["body", "option"], "msg": f"the options are {values}"}])
    if change.outcome is AnswerOutcome.INVALID_TEXT:
        text = f"this question is answered by a text of 1 to {change.approval.text_limit} characters"
        raise invalid_input([{"loc": ["body", "text"], "msg": text}])
    return await _view_unless_closed_before(
        state, caller, change, AnswerOutcome.DECIDED, AnswerOutcome.COUNTED
    )


@router.post(
    "/{approval_id}/cancel",
    summary="Cancel an approval",
    responses=_CLOSED,
)
async def cancel(
    request: Request, state: State, caller: CallerKey, approval_id: Id, cancellation: Cancel | None = None
) -> ApprovalView:
    """The messages that show the question are edited: they lose their buttons and show the reason."""
    given = cancellation or Cancel()
    actor = _api_actor(caller, given.by)
    trace = from_request.request_span(request, state.telemetry)

    def work(connection: Connection) -> ApprovalChange:
        approval = _existing(store.by_id(connection, approval_id))
        return decisions.cancel(
            connection, approval, actor, reason=given.reason, now=state.clock.time(), trace=trace
        )

    change = await state.outbox.database.write("approval_cancel", work)
    await state.inbound.publisher.closed([change])
    return await _view_unless_closed_before(state, caller, change, AnswerOutcome.CANCELLED)


def _given(approval: Approval, decision: Decide) -> Given:
    if decision.option is None:
        return Given(text=decision.text.strip() if decision.text else None)
    return Given(option=domain.find_option(approval.options, decision.option, values_first=True))


def _api_actor(caller: Key, by: str) -> Actor:
    """The given name with the key's name, so that a program cannot pretend to be a person who tapped."""
    key = f"API key {caller.name}"
    return Actor(f"{by} ({key})" if by else key, key=caller.name)


async def _view_unless_closed_before(
    state: BridgeState, caller: Key, change: ApprovalChange, *expected: AnswerOutcome
) -> ApprovalView:
    found = await _view(state, caller, change.approval.id)
    if change.outcome not in expected:
        text = f"The approval is {_state_name(change)}."
        raise Problem(409, "Already closed", text, approval=found.model_dump())
    return found


def _state_name(change: ApprovalChange) -> str:
    """``expired`` as soon as the time is over, even before the row says so."""
    expired = change.outcome is AnswerOutcome.EXPIRED
    return AnswerOutcome.EXPIRED.value if expired else change.approval.state.value


async def _view(state: BridgeState, caller: Key, approval_id: str) -> ApprovalView:
    found = await state.outbox.database.read("read", partial(queries.details, approval_id=approval_id))
    return view.approval_view(_existing(found), state.settings.jaeger_ui_url, caller)


def _existing(found: T | None) -> T:
    if found is None:
        raise Problem(404, "Not Found", "There is no approval with this id.")
    return found
