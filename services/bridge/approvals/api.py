"""Routes of questions to people."""

import hashlib
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Connection

from services.bridge import long_poll
from services.bridge.approvals import approval as domain
from services.bridge.approvals import decisions, from_request, phrasing, store, view
from services.bridge.approvals.approval import Approval, Outcome, Via, Who
from services.bridge.approvals.decisions import Changed
from services.bridge.approvals.store import Whole
from services.bridge.bot_messages import Recipient
from services.bridge.events.templates import Templates
from services.bridge.keys.keys import Key
from services.bridge.state import BridgeState, CallerKey, State
from services.contracts.approvals import (
    Approvals,
    ApprovalView,
    Cancel,
    Decide,
    NewApproval,
)
from services.contracts.fields import AN_ID, BotName, about
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems
from services.outbox.messages import IdempotencyKey, Submission

router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"])

LONGEST_WAIT = 55
_NOT_THERE = problems({404: "there is no such question"})
_CLOSED = _NOT_THERE | problems({409: "it is closed already; `approval` says how"})
_ASKED: dict[int | str, dict[str, Any]] = {
    201: {
        "description": "it is on disk, or was before",
        "headers": {
            "Location": {
                "description": "of the question",
                "schema": {"type": "string", "examples": [f"/api/v1/approvals/{AN_ID}"]},
            },
            "Idempotent-Replayed": {
                "description": "`true` where it was asked before",
                "schema": {"type": "string", "examples": ["true"]},
            },
        },
    },
    **problems({422: "the input is wrong: one entry a field; or the Idempotency-Key had another body"}),
}
Id = Annotated[str, Path(description="of the question", examples=[AN_ID])]


@router.post(
    "",
    status_code=201,
    summary="Ask people: the first answer wins",
    responses=_ASKED,
)
async def ask(
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
            description="a repetition with the same key and body gets the same question, for 24 hours",
            examples=["deploy-2.1"],
        ),
    ] = None,
) -> ApprovalView:
    """Answers once the question is on disk; ``GET`` with ``wait`` tells the answer."""
    now = state.clock.time()
    from_request.check_callback(new, state.inbound.destinations)
    bot = from_request.bot(new, state.bots)
    asked = from_request.approval(
        new,
        bot,
        caller.name,
        trace=from_request.trace(request, state.telemetry),
        expires_in=state.settings.approval_expires_seconds,
        now=now,
    )
    chats = (
        new.chat_id if isinstance(new.chat_id, list) else [new.chat_id] if new.chat_id is not None else None
    )
    to = [Recipient(chat_id, new.thread_id, expires_at=asked.expires_at) for chat_id in (chats or bot.chats)]
    key = _key(caller.name, idempotency_key, await request.body(), asked.id)
    work = partial(_ask, asked=asked, templates=state.templates, to=to, key=key, now=now)
    stored = await state.outbox.database.write("approval_ask", work)
    if isinstance(stored, str):
        response.headers["Idempotent-Replayed"] = "true"
        asked_id = stored
    else:
        await state.inbound.news.asked(stored, asked.id)
        asked_id = asked.id
    response.headers["Location"] = f"/api/v1/approvals/{asked_id}"
    return await _view(state, asked_id)


def _ask(
    connection: Connection,
    asked: Approval,
    to: Sequence[Recipient],
    *,
    key: IdempotencyKey | None,
    templates: Templates | None,
    now: float,
) -> Submission | str:
    """Stores the question, or answers the id of the one that the key was used for."""
    if key is not None:
        earlier = store.claim_key(connection, key, now)
        if earlier is not None:
            return earlier
    asked = store.with_code(connection, asked)
    return store.ask(connection, asked, phrasing.words(templates, asked), to, now)


def _key(client: str, given: str | None, body: bytes, answer: str) -> IdempotencyKey | None:
    """Keys of questions are apart from those of events."""
    if given is None:
        return None
    return IdempotencyKey(f"{client}/approvals", given, hashlib.sha256(body).hexdigest(), answer)


class Asked(BaseModel, extra="forbid"):
    """Which questions; all of it together."""

    status: Annotated[
        Literal["open", "decided", "expired", "cancelled"] | None, about("in this state", "open")
    ] = None
    correlation_id: Annotated[str | None, Query(max_length=128), about("of the question", "order-4711")] = (
        None
    )
    bot: Annotated[BotName | None, about("which bot asks", "default")] = None
    client: Annotated[
        str | None, Query(max_length=128, pattern=r"^[^\x00]*$"), about("name of the key that asked", "ci")
    ] = None
    cursor: Annotated[int | None, Query(ge=1, le=2**53), about("`next_cursor` of the page before", 4711)] = (
        None
    )
    limit: Annotated[int, Query(ge=1, le=500), about("questions at most", 50)] = 50


@router.get("", summary="Questions, newest first")
async def search(state: State, wanted: Annotated[Asked, Query()]) -> Approvals:
    """Their messages and answers are told by each question itself."""
    rows = await state.outbox.database.read(
        "search",
        lambda connection: store.search(
            connection,
            state=wanted.status,
            correlation_id=wanted.correlation_id,
            bot=wanted.bot,
            client=wanted.client,
            before=wanted.cursor,
            limit=wanted.limit,
        ),
    )
    items = [view.whole(Whole(one, [], [], []), state.settings.jaeger_ui_url) for _, one in rows]
    return Approvals(items=items, next_cursor=str(rows[-1][0]) if len(rows) == wanted.limit else None)


@router.get(
    "/{approval_id}",
    summary="The question and what became of it; with `wait`, once somebody has answered",
    responses=_NOT_THERE,
)
async def read(
    request: Request,
    state: State,
    approval_id: Id,
    wait: Annotated[
        float,
        Query(ge=0, le=LONGEST_WAIT, description="seconds to wait for an answer", examples=[0.0]),
    ] = 0,
) -> ApprovalView:
    """To wait longer, ask again: nothing is missed in between."""
    database = state.outbox.database

    async def over() -> bool:
        return await database.read("read", partial(store.is_over, approval_id=approval_id))

    if wait:
        await long_poll.until(request, database, store.channel(approval_id), over, wait)
    return await _view(state, approval_id)


@router.post(
    "/{approval_id}/decide",
    summary="Decide without Telegram; audited like any answer",
    responses=_CLOSED,
)
async def decide(
    request: Request, state: State, caller: CallerKey, approval_id: Id, decision: Decide
) -> ApprovalView:
    """As if somebody had tapped: the first answer wins, the messages are edited, the callback is told."""
    who = _program(caller, decision.by)
    trace = from_request.trace(request, state.telemetry)

    def work(connection: Connection) -> Changed:
        asked = _found(store.by_id(connection, approval_id))
        chosen = domain.option_named(asked.options, decision.option)
        return decisions.answer(
            connection,
            asked,
            who,
            Via.API,
            chosen,
            now=state.clock.time(),
            comment=decision.comment,
            trace=trace,
        )

    changed = await state.outbox.database.write("approval_answer", work)
    news = state.inbound.news
    news.answered(Via.API, changed.outcome)
    await news.closed([changed])
    if changed.outcome is Outcome.NO_SUCH_OPTION:
        values = ", ".join(option.value for option in changed.approval.options)
        raise invalid_input([{"loc": ["body", "option"], "msg": f"the options are {values}"}])
    return await _answer_unless_closed(state, changed, Outcome.DECIDED)


@router.post(
    "/{approval_id}/cancel",
    summary="Take the question back",
    responses=_CLOSED,
)
async def cancel(
    request: Request, state: State, caller: CallerKey, approval_id: Id, wanted: Cancel | None = None
) -> ApprovalView:
    """The messages that show it say so, and have no buttons any more."""
    wanted = wanted or Cancel()
    who = _program(caller, wanted.by)
    trace = from_request.trace(request, state.telemetry)

    def work(connection: Connection) -> Changed:
        asked = _found(store.by_id(connection, approval_id))
        return decisions.cancel(
            connection, asked, who, reason=wanted.reason, now=state.clock.time(), trace=trace
        )

    changed = await state.outbox.database.write("approval_cancel", work)
    await state.inbound.news.closed([changed])
    return await _answer_unless_closed(state, changed, Outcome.CANCELLED)


def _program(caller: Key, by: str) -> Who:
    """Who it says it is, and the key: nobody passes for a person who tapped."""
    key = f"API key {caller.name}"
    return Who(f"{by} ({key})" if by else key)


async def _answer_unless_closed(state: BridgeState, changed: Changed, wanted: Outcome) -> ApprovalView:
    shown = await _view(state, changed.approval.id)
    if changed.outcome is not wanted:
        raise Problem(
            409, "Already closed", f"The question is {_state(changed)}.", approval=shown.model_dump()
        )
    return shown


def _state(changed: Changed) -> str:
    """Expired already where the clock says so, a moment before the row does."""
    return "expired" if changed.outcome is Outcome.EXPIRED else changed.approval.state.value


def _found(asked: Approval | None) -> Approval:
    if asked is None:
        raise Problem(404, "Not Found", "There is no question with this id.")
    return asked


async def _view(state: BridgeState, approval_id: str) -> ApprovalView:
    found = await state.outbox.database.read("read", lambda connection: store.whole(connection, approval_id))
    if found is None:
        raise Problem(404, "Not Found", "There is no question with this id.")
    return view.whole(found, state.settings.jaeger_ui_url)
