"""The routes of tracking."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query
from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, field_validator
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from services.bridge.tracking import jobs, lives
from services.bridge.tracking.jobs import NewJob
from services.bridge.tracking.opening import Tracking
from services.bridge.tracking.stream import EventStream, Wanted
from services.contracts.fields import BotName, ChatId, Strict
from services.kit.errors import Problem
from services.outbox import feed, intake, overrides, queries
from services.outbox.engine import Outbox
from services.outbox.feed import Position
from services.outbox.messages import Reason, State
from services.outbox.overrides import REPLAYABLE, By, Verdict
from services.outbox.queries import Search

router = APIRouter(prefix="/api/v1", tags=["tracking"])

#: A story of more messages than this is told of the first ones only, and says so.
MOST_MESSAGES = 500
Why = Annotated[str, StringConstraints(max_length=200)]
Cursor = Annotated[int, Query(ge=1, le=2**53)]
#: A query is text: the strict type of a body would take none.
QueriedChat = Annotated[int, Query(ge=-(2**53), le=2**53)]


async def outbox_of(request: Request) -> Outbox:
    outbox: Outbox = request.state.outbox
    return outbox


async def tracking_of(request: Request) -> Tracking:
    tracking: Tracking = request.state.tracking
    return tracking


async def caller_of(request: Request) -> str:
    """Name of the key that asks."""
    name: str = getattr(request.state, "client", "default")
    return name


Engine = Annotated[Outbox, Depends(outbox_of)]
Tracked = Annotated[Tracking, Depends(tracking_of)]
Caller = Annotated[str, Depends(caller_of)]


class Decision(Strict):
    """Why; shown with the message."""

    reason: Why = ""


@router.post("/messages/{message_id}/cancel", summary="Take a message back that is not sent yet")
async def cancel(
    request: Request,
    *,
    outbox: Engine,
    tracking: Tracked,
    caller: Caller,
    message_id: str,
    decision: Decision | None = None,
) -> dict[str, Any]:
    """409 with its state where it is being sent, is sent in part, or has ended."""
    by = By(caller, decision.reason if decision else "")
    verdict = await _decide(
        request, outbox, "cancel", partial(overrides.cancel, message_id=message_id, by=by)
    )
    if not verdict.done:
        told = "Parts of it are sent." if verdict.parts_sent else f"It is {verdict.state.value}."
        raise Problem(409, "Cannot be cancelled", told, **_told(message_id, verdict))
    tracking.metrics.cancelled.inc()
    return _told(message_id, verdict)


@router.post("/messages/{message_id}/replay", summary="Send a message again that ended undelivered")
async def replay(
    request: Request,
    *,
    outbox: Engine,
    tracking: Tracked,
    caller: Caller,
    message_id: str,
    decision: Decision | None = None,
) -> dict[str, Any]:
    """409 with its state where it is delivered, or still on its way."""
    by = By(caller, decision.reason if decision else "")
    verdict = await _decide(
        request, outbox, "replay", partial(overrides.replay, message_id=message_id, by=by)
    )
    if not verdict.done:
        told = f"It is {verdict.state.value}."
        raise Problem(409, "Cannot be replayed", told, **_told(message_id, verdict))
    tracking.metrics.replayed.inc()
    return _told(message_id, verdict)


async def _decide(
    request: Request, outbox: Outbox, operation: str, decide: Callable[..., Verdict | None]
) -> Verdict:
    work = partial(decide, now=request.state.clock.time())
    verdict = await outbox.database.write(operation, work, wake=intake.CHANNEL)
    if verdict is None:
        raise Problem(404, "Not Found", "There is no message with this id.")
    outbox.database.wake_here(feed.CHANNEL)
    return verdict


def _told(message_id: str, verdict: Verdict) -> dict[str, Any]:
    # Not `status`: in a problem document that is the HTTP status.
    return {
        "message_id": message_id,
        "state": verdict.state.value,
        "parts_sent": verdict.parts_sent,
        "possible_duplicate": verdict.possible_duplicate,
    }


class Letters(BaseModel, extra="forbid"):
    """Which dead letters; all of it together."""

    reason: list[Reason] = []
    type: str | None = None
    chat_id: QueriedChat | None = None
    bot: BotName | None = None
    correlation_id: str | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    q: str | None = None
    cursor: Cursor | None = None
    limit: Annotated[int, Query(ge=1, le=500)] = 50


@router.get("/dead-letters", summary="What was given up, with the reason; newest first")
async def dead_letters(outbox: Engine, wanted: Annotated[Letters, Query()]) -> dict[str, Any]:
    sought = _search(wanted, [State.DEAD_LETTER], before=wanted.cursor, limit=wanted.limit)
    page, attempts = await outbox.database.read("search", partial(_letters, wanted=sought))
    return {
        "items": [lives.dead_letter(row, attempts.get(row["seq"])) for row in page.rows],
        "next_cursor": None if page.cursor is None else str(page.cursor),
    }


def _letters(connection: Connection, wanted: Search) -> tuple[queries.Page, dict[int, Any]]:
    page = queries.search(connection, wanted)
    return page, queries.last_attempts(connection, [row["seq"] for row in page.rows])


class Replay(Strict):
    """What to replay; all of it together. Without anything: every dead letter."""

    status: list[State] = Field([State.DEAD_LETTER], min_length=1, description="which endings")
    reason: list[Reason] = Field([], description="why they ended; none is any")
    type: str | None = None
    chat_id: ChatId | None = None
    bot: BotName | None = None
    correlation_id: str | None = None
    since: AwareDatetime | None = Field(None, description="accepted at or after")
    until: AwareDatetime | None = Field(None, description="accepted before")
    q: str | None = Field(None, description="part of the title")
    why: Why = Field("", description="shown with every message")

    @field_validator("status")
    @classmethod
    def _replayable(cls, states: list[State]) -> list[State]:
        wrong = [state.value for state in states if state not in REPLAYABLE]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} cannot be replayed")
        return sorted(set(states))


def _search(
    wanted: Letters | Replay, states: list[State], *, before: int | None = None, limit: int = jobs.PORTION
) -> Search:
    try:
        since = wanted.since.timestamp() if wanted.since else None
        until = wanted.until.timestamp() if wanted.until else None
    except (OverflowError, ValueError) as error:
        raise Problem(422, "Invalid input", "since or until is outside the calendar") from error
    return Search(
        states=[state.value for state in states],
        reasons=[reason.value for reason in wanted.reason],
        type=wanted.type,
        chat_id=wanted.chat_id,
        bot=wanted.bot,
        correlation_id=wanted.correlation_id,
        since=since,
        until=until,
        text=wanted.q,
        before=before,
        limit=limit,
    )


@router.post("/dead-letters/replay", status_code=202, summary="Replay all that fit, as a job that survives")
async def replay_all(
    request: Request,
    response: Response,
    *,
    outbox: Engine,
    caller: Caller,
    wanted: Replay,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> dict[str, Any]:
    """What ends undelivered after this moment is left for another job."""
    new = NewJob(_search(wanted, wanted.status), By(caller, wanted.why), idempotency_key)
    row, is_new = await jobs.add(outbox.database, new, request.state.clock.time())
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/jobs/{row['id']}"
    return lives.job(row)


@router.get("/jobs", summary="Jobs, newest first")
async def list_jobs(
    outbox: Engine,
    status: jobs.State | None = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    work = partial(jobs.newest, state=status.value if status else None, before=cursor, limit=limit)
    rows = await outbox.database.read("job_find", work)
    return {
        "items": [lives.job(row) for row in rows],
        "next_cursor": rows[-1]["id"] if len(rows) == limit else None,
    }


@router.get("/jobs/{job_id}", summary="A job and how far it is")
async def one_job(outbox: Engine, job_id: str) -> dict[str, Any]:
    return lives.job(await _job(outbox, job_id))


@router.post("/jobs/{job_id}/cancel", summary="End a job where it stands")
async def cancel_job(request: Request, outbox: Engine, job_id: str) -> dict[str, Any]:
    """What it has replayed stays replayed. 409 where it has ended."""
    work = partial(jobs.cancel, job_id=job_id, now=request.state.clock.time())
    done = await outbox.database.write("job", work)
    told = lives.job(await _job(outbox, job_id))
    if not done:
        raise Problem(409, "Cannot be cancelled", f"The job is {told['status']}.", state=told["status"])
    return told


async def _job(outbox: Outbox, job_id: str) -> Any:
    row = await outbox.database.read("job_find", partial(jobs.get, job_id=job_id))
    if row is None:
        raise Problem(404, "Not Found", "There is no job with this id.")
    return row


@router.get("/traces", summary="Messages and how they came to where they stand; those in flight, or all")
async def traces(
    request: Request,
    outbox: Engine,
    active: bool = True,
    cursor: Cursor | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    states = [state.value for state in queries.UNFINISHED] if active else []
    wanted = Search(states=states, before=cursor, limit=limit)
    page, found = await outbox.database.read("trace", partial(_lives, wanted=wanted))
    now, trace_url = request.state.clock.time(), request.state.settings.jaeger_ui_url
    return {
        "items": [lives.life(life, now, trace_url) for life in reversed(found)],
        "next_cursor": None if page.cursor is None else str(page.cursor),
    }


def _lives(connection: Connection, wanted: Search) -> tuple[queries.Page, list[queries.Life]]:
    page = queries.search(connection, wanted)
    return page, queries.lives(connection, [row["seq"] for row in page.rows], with_body=True)


@router.get("/traces/{correlation_id:path}", summary="All that happened under a correlation id, in order")
async def story(request: Request, outbox: Engine, correlation_id: str) -> dict[str, Any]:
    work = partial(queries.of_correlation, correlation_id=correlation_id, most=MOST_MESSAGES)
    events, found, whole = await outbox.database.read("trace", work)
    if not events:
        raise Problem(404, "Not Found", "There is nothing with this correlation id.")
    return lives.story(events, found, request.state.settings.jaeger_ui_url) | {"truncated": not whole}


_FRAMES = {
    "description": "server-sent events `ready`, `change`, `gap`, `slow` and `bye`; a comment as heartbeat",
    "content": {"text/event-stream": {}},
}


@router.get(
    "/stream",
    summary="Every change of a message's state, as server-sent events",
    response_class=Response,
    responses={200: _FRAMES},
)
async def stream(
    request: Request,
    *,
    tracking: Tracked,
    status: Annotated[list[State], Query()] = [],  # noqa: B006 - FastAPI copies it
    type: Annotated[list[str], Query()] = [],  # noqa: A002, B006 - the parameter's public name; the same
    chat_id: QueriedChat | None = None,
    correlation_id: str | None = None,
    bot: BotName | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """From now on, or on from ``Last-Event-ID``: at any replica, for what the last 24 hours hold."""
    after = None
    if last_event_id:
        after = Position.parse(last_event_id)
        if after is None:
            raise Problem(422, "Invalid input", "Last-Event-ID is none of this stream's ids.")
    wanted = Wanted(frozenset(state.value for state in status), frozenset(type), chat_id, correlation_id, bot)
    stopping: asyncio.Event = request.app.state.stopping
    frames = await tracking.stream.open(wanted, after, stopping)
    return EventStream(frames, tracking.metrics.dropped.inc)
