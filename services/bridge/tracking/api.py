"""The routes of tracking."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query
from pydantic import BaseModel
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from services.bridge.state import BridgeState, CallerKey, State
from services.bridge.tracking import jobs, search_params, views
from services.bridge.tracking.jobs import NewJob
from services.bridge.tracking.search_params import Cursor, Decision, Letters, QueriedChat, Replay
from services.bridge.tracking.stream import EventStream, Wanted
from services.contracts import messages
from services.contracts.fields import AN_ID, BotName, Words, about
from services.contracts.tracking import CorrelationTimeline, Job, Jobs, StreamChange, StreamEvent, StreamNote
from services.kit.errors import Problem
from services.kit.web.openapi import problems
from services.outbox import change_feed
from services.outbox import messages as outbox_messages
from services.outbox.change_feed import Position
from services.outbox.engine import Outbox
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import By, Verdict
from services.outbox.queries import message_queries
from services.outbox.queries.message_queries import Search

router = APIRouter(prefix="/api/v1", tags=["tracking"])

#: A story of more messages than this is told of the first ones only, and says so.
MOST_MESSAGES = 500
MessageId = Annotated[Words, Path(description="of the message", examples=[AN_ID])]
JobId = Annotated[Words, Path(description="of the job", examples=[AN_ID])]
_DECIDED = problems(
    {404: "there is no message with this id", 409: "it is too late, or too early; `state` says why"}
)
_NO_JOB = problems({404: "there is no job with this id"})


@router.post(
    "/messages/{message_id}/cancel",
    summary="Take a message back that is not sent yet",
    responses=_DECIDED,
)
async def cancel(
    state: State, caller: CallerKey, message_id: MessageId, decision: Decision | None = None
) -> messages.CancelReplayResult:
    """409 with its state where it is being sent, is sent in part, or has ended."""
    by = By(caller.name, decision.reason if decision else "")
    verdict = await _decide(state, "cancel", partial(cancel_replay.cancel, message_id=message_id, by=by))
    if not verdict.done:
        told = "Parts of it are sent." if verdict.parts_sent else f"It is {verdict.state.value}."
        raise Problem(409, "Cannot be cancelled", told, **_view(message_id, verdict).model_dump())
    state.tracking.metrics.cancelled.inc()
    return _view(message_id, verdict)


@router.post(
    "/messages/{message_id}/replay",
    summary="Send a message again that ended undelivered",
    responses=_DECIDED,
)
async def replay(
    state: State, caller: CallerKey, message_id: MessageId, decision: Decision | None = None
) -> messages.CancelReplayResult:
    """409 with its state where it is delivered, or still on its way."""
    by = By(caller.name, decision.reason if decision else "")
    verdict = await _decide(state, "replay", partial(cancel_replay.replay, message_id=message_id, by=by))
    if not verdict.done:
        told = f"It is {verdict.state.value}."
        raise Problem(409, "Cannot be replayed", told, **_view(message_id, verdict).model_dump())
    state.tracking.metrics.replayed.inc()
    return _view(message_id, verdict)


async def _decide(state: BridgeState, operation: str, decide: Callable[..., Verdict | None]) -> Verdict:
    work = partial(decide, now=state.clock.time())
    verdict = await state.outbox.database.write(operation, work, wake=enqueue.CHANNEL)
    if verdict is None:
        raise Problem(404, "Not Found", "There is no message with this id.")
    state.outbox.database.wake_here(change_feed.CHANNEL)
    return verdict


def _view(message_id: Words, verdict: Verdict) -> messages.CancelReplayResult:
    # Not `status`: in a problem document that is the HTTP status.
    return messages.CancelReplayResult(
        message_id=message_id,
        state=verdict.state.value,
        parts_sent=verdict.parts_sent,
        possible_duplicate=verdict.possible_duplicate,
    )


@router.get(
    "/dead-letters",
    summary="What was given up, with the reason; newest first",
)
async def dead_letters(state: State, wanted: Annotated[Letters, Query()]) -> messages.DeadLetters:
    """Each can be sent again: one by its `replay`, all that fit by `POST /api/v1/dead-letters/replay`."""
    sought = search_params.search(
        wanted, [outbox_messages.State.DEAD_LETTER], before=wanted.cursor, limit=wanted.limit
    )
    page, attempts = await state.outbox.database.read("search", partial(_letters, wanted=sought))
    return messages.DeadLetters(
        items=[views.dead_letter(row, attempts.get(row["seq"])) for row in page.rows],
        next_cursor=None if page.cursor is None else str(page.cursor),
    )


def _letters(connection: Connection, wanted: Search) -> tuple[message_queries.Page, dict[int, Any]]:
    page = message_queries.search(connection, wanted)
    return page, message_queries.last_attempts(connection, [row["seq"] for row in page.rows])


_STARTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "the job is on disk, or was before",
        "headers": {
            "Location": {
                "description": "of the job",
                "schema": {"type": "string", "examples": [f"/api/v1/jobs/{AN_ID}"]},
            },
            "Idempotent-Replayed": {
                "description": "`true` where it was asked for before",
                "schema": {"type": "string", "examples": ["true"]},
            },
        },
    },
    **problems({422: "the input is wrong: one entry a field; or the Idempotency-Key had another filter"}),
}


@router.post(
    "/dead-letters/replay",
    status_code=202,
    summary="Replay all that fit, as a job that survives",
    responses=_STARTED,
)
async def replay_all(
    response: Response,
    state: State,
    caller: CallerKey,
    wanted: Replay,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=255,
            min_length=1,
            description="a repetition with the same key and filter gets the same job",
            examples=["after-the-outage"],
        ),
    ] = None,
) -> Job:
    """What ends undelivered after this moment is left for another job."""
    new = NewJob(search_params.search(wanted, wanted.status), By(caller.name, wanted.why), idempotency_key)
    row, is_new = await jobs.add(state.outbox.database, new, state.clock.time())
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/jobs/{row['id']}"
    return views.job(row)


@router.get("/jobs", summary="Jobs, newest first")
async def list_jobs(
    state: State,
    status: Annotated[jobs.State | None, Query(), about("in this state", "running")] = None,
    cursor: Annotated[Words | None, Query(), about("`next_cursor` of the page before", AN_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=500), about("jobs at most", 50)] = 50,
) -> Jobs:
    """Those that ended stay as long as messages do."""
    work = partial(jobs.newest, state=status.value if status else None, before=cursor, limit=limit)
    rows = await state.outbox.database.read("job_find", work)
    return Jobs(
        items=[views.job(row) for row in rows],
        next_cursor=rows[-1]["id"] if len(rows) == limit else None,
    )


@router.get(
    "/jobs/{job_id}",
    summary="A job and how far it is",
    responses=_NO_JOB,
)
async def one_job(state: State, job_id: JobId) -> Job:
    """It goes on whatever is killed meanwhile, at any replica."""
    return views.job(await _job(state.outbox, job_id))


@router.post(
    "/jobs/{job_id}/cancel",
    summary="End a job where it stands",
    responses=_NO_JOB | problems({409: "it has ended; `state` says how"}),
)
async def cancel_job(state: State, job_id: JobId) -> Job:
    """What it has replayed stays replayed. 409 where it has ended."""
    work = partial(jobs.cancel, job_id=job_id, now=state.clock.time())
    done = await state.outbox.database.write("job", work)
    job = views.job(await _job(state.outbox, job_id))
    if not done:
        raise Problem(409, "Cannot be cancelled", f"The job is {job.status}.", state=job.status)
    return job


async def _job(outbox: Outbox, job_id: Words) -> Any:
    row = await outbox.database.read("job_find", partial(jobs.get, job_id=job_id))
    if row is None:
        raise Problem(404, "Not Found", "There is no job with this id.")
    return row


@router.get(
    "/traces",
    summary="Messages and how they came to where they stand; those in flight, or all",
)
async def traces(
    state: State,
    active: Annotated[bool, Query(), about("whether only those in flight are told of", True)] = True,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200), about("messages at most", 50)] = 50,
) -> messages.TracedMessages:
    """Newest first, each with every state that it was in."""
    states = [one.value for one in message_queries.UNFINISHED] if active else []
    wanted = Search(states=states, before=cursor, limit=limit)
    page, found = await state.outbox.database.read("trace", partial(_lives, wanted=wanted))
    now, trace_url = state.clock.time(), state.settings.jaeger_ui_url
    return messages.TracedMessages(
        items=[views.life(life, now, trace_url) for life in reversed(found)],
        next_cursor=None if page.cursor is None else str(page.cursor),
    )


def _lives(connection: Connection, wanted: Search) -> tuple[message_queries.Page, list[message_queries.Life]]:
    page = message_queries.search(connection, wanted)
    return page, message_queries.lives(connection, [row["seq"] for row in page.rows], with_body=True)


@router.get(
    "/traces/{correlation_id:path}",
    summary="All that happened under a correlation id, in order",
    response_model_exclude_unset=True,
    responses=problems({404: "there is nothing with this correlation id"}),
)
async def story(
    state: State,
    correlation_id: Annotated[Words, Path(description="of the events", examples=["order-4711"])],
) -> CorrelationTimeline:
    """Events, changes and attempts of up to 500 messages; `truncated` where there are more."""
    work = partial(message_queries.of_correlation, correlation_id=correlation_id, most=MOST_MESSAGES)
    events, found, whole = await state.outbox.database.read("trace", work)
    if not events:
        raise Problem(404, "Not Found", "There is nothing with this correlation id.")
    return views.story(events, found, state.settings.jaeger_ui_url, truncated=not whole)


_FRAMES = {
    "description": "server-sent events `ready`, `change`, `gap`, `slow` and `bye`; a comment as heartbeat",
    "content": {
        "text/event-stream": {"schema": {"$ref": "#/components/schemas/StreamEvent"}},
    },
}


@router.get(
    "/stream",
    summary="Every change of a message's state, as server-sent events",
    response_class=Response,
    responses={200: _FRAMES, **problems({503: "the store is down, or too many streams are open"})},
)
async def stream(
    request: Request,
    *,
    state: State,
    status: Annotated[
        list[outbox_messages.State], Query(), about("into one of these states", ["delivered"])
    ] = [],  # noqa: B006 - FastAPI copies it
    type: Annotated[list[str], Query(), about("of one of these types", ["build_failed"])] = [],  # noqa: A002, B006 - the parameter's public name; the same
    chat_id: QueriedChat = None,
    correlation_id: Annotated[Words | None, Query(), about("of the event", "order-4711")] = None,
    bot: Annotated[BotName | None, Query(), about("which bot sends it", "default")] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            description="the id of the last event that you have",
            examples=["812.4711.1"],
        ),
    ] = None,
) -> Response:
    """From now on, or on from `Last-Event-ID`: at any replica, for what the last 24 hours hold."""
    after = None
    if last_event_id:
        after = Position.parse(last_event_id)
        if after is None:
            raise Problem(422, "Invalid input", "Last-Event-ID is none of this stream's ids.")
    wanted = Wanted(frozenset(one.value for one in status), frozenset(type), chat_id, correlation_id, bot)
    stopping: asyncio.Event = request.app.state.stopping
    frames = await state.tracking.stream.open(wanted, after, stopping)
    return EventStream(frames, state.tracking.metrics.dropped.inc)


#: Referred to by the stream, whose events FastAPI does not see.
SCHEMAS: dict[str, type[BaseModel]] = {
    model.__name__: model for model in (StreamEvent, StreamChange, StreamNote)
}
