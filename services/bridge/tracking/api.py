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
from services.bridge.tracking import deletions, edits, follow_up, jobs, search_params, views
from services.bridge.tracking.jobs import NewJob
from services.bridge.tracking.search_params import (
    Cursor,
    Decision,
    Letters,
    QueriedChat,
    Replay,
    States,
    Types,
)
from services.bridge.tracking.stream import EventStream, StreamFilter
from services.contracts import messages
from services.contracts.fields import AN_ID, BotName, Words, about
from services.contracts.tracking import (
    CorrelationTimeline,
    Job,
    Jobs,
    StreamApproval,
    StreamChange,
    StreamEvent,
    StreamNote,
)
from services.kit.errors import Problem
from services.kit.web.openapi import problems
from services.outbox import change_feed
from services.outbox.change_feed import Position
from services.outbox.chats import chat_state
from services.outbox.engine import Outbox
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.intake.cancel_replay import ActionResult, By
from services.outbox.messages import UNFINISHED, MessageState
from services.outbox.queries import message_search, message_timeline
from services.outbox.queries.message_search import Search

router = APIRouter(prefix="/api/v1", tags=["tracking"])

#: A timeline of more messages than this has the first ones only, and `truncated` is true.
MOST_MESSAGES = 500
MessageId = Annotated[Words, Path(description="ID of the message", examples=[AN_ID])]
JobId = Annotated[Words, Path(description="ID of the job", examples=[AN_ID])]
_DECIDED = problems({404: "no message has this ID", 409: "the message's `state` does not allow it"})
_REPLACED = "It is out of date: a later message has replaced it."
_NO_JOB = problems({404: "no job has this ID"})


@router.post("/messages/{message_id}/cancel", summary="Cancel a waiting message", responses=_DECIDED)
async def cancel(
    state: State, caller: CallerKey, message_id: MessageId, decision: Decision | None = None
) -> messages.CancelReplayResult:
    """409 with the state if the message is being sent, is sent in part, or has reached its final state.

    A message that may have arrived (`possible_duplicate`) is not sent again, and its state is `unknown`.
    """
    by = By(caller.name, decision.reason if decision else "")
    verdict = await _decide(state, "cancel", partial(cancel_replay.cancel, message_id=message_id, by=by))
    if not verdict.done:
        detail = "Parts of it are sent." if verdict.parts_sent else verdict.obstacle
        raise Problem(409, "Cannot be cancelled", detail, **_view(message_id, verdict).model_dump())
    if verdict.state is MessageState.CANCELLED:
        state.tracking.metrics.cancelled.inc()
    return _view(message_id, verdict)


@router.post("/messages/{message_id}/replay", summary="Replay an undelivered message", responses=_DECIDED)
async def replay(
    state: State, caller: CallerKey, message_id: MessageId, decision: Decision | None = None
) -> messages.CancelReplayResult:
    """409 with the state if the message is delivered, not finished, or replaced by a later message."""
    by = By(caller.name, decision.reason if decision else "")
    verdict = await _decide(state, "replay", partial(cancel_replay.replay, message_id=message_id, by=by))
    if not verdict.done:
        detail = _REPLACED if verdict.replaced else verdict.obstacle
        raise Problem(409, "Cannot be replayed", detail, **_view(message_id, verdict).model_dump())
    state.tracking.metrics.replayed.inc()
    return _view(message_id, verdict)


@router.patch(
    "/messages/{message_id}",
    status_code=202,
    summary="Edit a delivered message",
    response_description="The edit is on disk; it waits in the chat's order.",
    responses=problems({404: "no message has this ID", 409: "it is not delivered, or has several parts"}),
)
async def edit(
    state: State, caller: CallerKey, message_id: MessageId, changes: messages.MessageChanges
) -> messages.EditAccepted:
    """Changes the given fields; null sets a field's default. The edit waits in the chat's order.

    If Telegram cannot edit the message any more, it is sent once more as a new message.
    """
    by = follow_up.By(caller.name, state.telemetry.new_trace())
    work = partial(edits.edit, message_id=message_id, changes=changes, by=by, now=state.clock.time())
    stored = await state.outbox.database.write("edit", work, notify=enqueue.CHANNEL)
    if stored is None:
        raise Problem(404, "Not Found", "No message has this ID.")
    state.outbox.record_stored([stored], state.clock.time())
    state.outbox.database.notify_local(change_feed.CHANNEL)
    ((replacing,),), (event,) = stored.messages, stored.events
    return messages.EditAccepted(message_id=replacing.id, event_id=event.id, edits=message_id)


@router.delete(
    "/messages/{message_id}",
    status_code=202,
    summary="Delete a message",
    response_description="The deletion is on disk; it waits in the chat's order.",
    responses=problems({404: "no message has this ID", 409: "it is being sent, or was never sent"}),
)
async def delete(state: State, caller: CallerKey, message_id: MessageId) -> messages.DeletionAccepted:
    """Deletes all parts of a message in the chat, in the chat's order; one that waits is cancelled instead.

    If Telegram refuses, as after 48 hours, the deletion is a dead letter with the reason `cannot_delete`.
    """
    now, by = state.clock.time(), follow_up.By(caller.name, state.telemetry.new_trace())
    work = partial(deletions.delete, message_id=message_id, by=by, now=now)
    done = await state.outbox.database.write("delete", work, notify=enqueue.CHANNEL)
    if done is None:
        raise Problem(404, "Not Found", "No message has this ID.")
    if done.stored is not None:
        state.outbox.record_stored([done.stored], now)
    if done.cancelled:
        state.tracking.metrics.cancelled.inc()
    state.outbox.database.notify_local(change_feed.CHANNEL)
    return messages.DeletionAccepted(message_id=done.by, deletes=done.deletes, cancelled=done.by is None)


async def _decide(
    state: BridgeState, operation: str, decide: Callable[..., ActionResult | None]
) -> ActionResult:
    work = partial(decide, now=state.clock.time())
    verdict = await state.outbox.database.write(operation, work, notify=enqueue.CHANNEL)
    if verdict is None:
        raise Problem(404, "Not Found", "No message has this ID.")
    state.outbox.database.notify_local(change_feed.CHANNEL)
    return verdict


def _view(message_id: Words, verdict: ActionResult) -> messages.CancelReplayResult:
    # Not `status`, which is the HTTP status in a problem document.
    return messages.CancelReplayResult(
        message_id=message_id,
        state=verdict.state.value,
        parts_sent=verdict.parts_sent,
        possible_duplicate=verdict.possible_duplicate,
    )


@router.get("/dead-letters", summary="List dead letters, newest first")
async def dead_letters(state: State, wanted: Annotated[Letters, Query()]) -> messages.DeadLetters:
    """Replay one by its `replay`, many by `POST /api/v1/dead-letters/replay`."""
    sought = search_params.search(
        wanted, [MessageState.DEAD_LETTER], before=wanted.cursor, limit=wanted.limit
    )
    page, attempts = await state.outbox.database.read("search", partial(_letters, wanted=sought))
    return messages.DeadLetters(
        items=[views.dead_letter(row, attempts.get(row["seq"])) for row in page.rows],
        next_cursor=None if page.cursor is None else str(page.cursor),
    )


def _letters(connection: Connection, wanted: Search) -> tuple[message_search.Page, dict[int, Any]]:
    page = message_search.search(connection, wanted)
    return page, message_timeline.last_attempts(connection, [row["seq"] for row in page.rows])


_STARTED: dict[int | str, dict[str, Any]] = {
    202: {
        "description": "the job is on disk",
        "headers": {
            "Location": {
                "description": "URL of the job",
                "schema": {"type": "string", "examples": [f"/api/v1/jobs/{AN_ID}"]},
            },
            "Idempotent-Replayed": {
                "description": "`true` if an earlier request with this Idempotency-Key created the job",
                "schema": {"type": "string", "examples": ["true"]},
            },
        },
    },
    **problems({422: "the input is invalid, one entry per field; or the Idempotency-Key had another filter"}),
}


@router.post(
    "/dead-letters/replay",
    status_code=202,
    summary="Replay many messages in a job",
    responses=_STARTED,
)
async def replay_all(
    response: Response,
    state: State,
    caller: CallerKey,
    wanted: Replay | None = None,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=255,
            min_length=1,
            description="a repeated request with the same key and filter gets the same job",
            examples=["after-the-outage"],
        ),
    ] = None,
) -> Job:
    """The job is stored and survives restarts. Messages that fail after this moment are not part of it."""
    chosen = wanted or Replay()
    new = NewJob(search_params.search(chosen, chosen.status), By(caller.name, chosen.why), idempotency_key)
    row, is_new = await jobs.add(state.outbox.database, new, state.clock.time())
    if not is_new:
        response.headers["Idempotent-Replayed"] = "true"
    response.headers["Location"] = f"/api/v1/jobs/{row['id']}"
    return views.job(row)


@router.get("/jobs", summary="List jobs, newest first")
async def list_jobs(
    state: State,
    status: Annotated[jobs.State | None, Query(), about("in this state", "running")] = None,
    cursor: Annotated[Words | None, Query(), about("`next_cursor` of the previous page", AN_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=500), about("largest number of jobs", 50)] = 50,
) -> Jobs:
    """Finished jobs are stored as long as messages are."""
    work = partial(jobs.newest, state=status.value if status else None, before=cursor, limit=limit)
    rows = await state.outbox.database.read("job_find", work)
    return Jobs(
        items=[views.job(row) for row in rows],
        next_cursor=rows[-1]["id"] if len(rows) == limit else None,
    )


@router.get(
    "/jobs/{job_id}",
    summary="Read a job and its progress",
    responses=_NO_JOB,
)
async def one_job(state: State, job_id: JobId) -> Job:
    """Any replica continues a job after a crash."""
    return views.job(await _job(state.outbox, job_id))


@router.post(
    "/jobs/{job_id}/cancel",
    summary="Cancel a job",
    responses=_NO_JOB | problems({409: "the job has ended; `state` says how"}),
)
async def cancel_job(state: State, job_id: JobId) -> Job:
    """Replayed messages stay replayed. 409 if the job has ended."""
    work = partial(jobs.cancel, job_id=job_id, now=state.clock.time())
    done = await state.outbox.database.write("job", work)
    job = views.job(await _job(state.outbox, job_id))
    if not done:
        raise Problem(409, "Cannot be cancelled", f"The job is {job.status}.", state=job.status)
    return job


async def _job(outbox: Outbox, job_id: Words) -> Any:
    row = await outbox.database.read("job_find", partial(jobs.get, job_id=job_id))
    if row is None:
        raise Problem(404, "Not Found", "No job has this ID.")
    return row


@router.get(
    "/traces",
    summary="List messages with their timelines, newest first",
)
async def traces(
    state: State,
    active: Annotated[bool, Query(), about("only messages that are not finished", True)] = True,
    cursor: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=200), about("largest number of messages", 50)] = 50,
) -> messages.TracedMessages:
    """Each message has every state that it was in."""
    states = [one.value for one in UNFINISHED] if active else []
    wanted = Search(states=states, before=cursor, limit=limit)
    page, found = await state.outbox.database.read("trace", partial(_lives, wanted=wanted))
    now, trace_url = state.clock.time(), state.settings.jaeger_ui_url
    return messages.TracedMessages(
        items=[views.life(life, now, trace_url) for life in reversed(found)],
        next_cursor=None if page.cursor is None else str(page.cursor),
    )


def _lives(
    connection: Connection, wanted: Search
) -> tuple[message_search.Page, list[message_timeline.MessageTimeline]]:
    page = message_search.search(connection, wanted)
    return page, message_timeline.timelines(connection, [row["seq"] for row in page.rows], with_body=True)


@router.get(
    "/traces/{correlation_id:path}",
    summary="Read the timeline of a correlation ID",
    response_model_exclude_unset=True,
    responses=problems({404: "no event has this correlation ID"}),
)
async def story(
    state: State,
    correlation_id: Annotated[Words, Path(description="correlation ID of events", examples=["order-4711"])],
) -> CorrelationTimeline:
    """Events, changes and attempts of up to 500 messages; `truncated` is true if there are more."""
    work = partial(message_timeline.of_correlation, correlation_id=correlation_id, most=MOST_MESSAGES)
    events, found, whole = await state.outbox.database.read("trace", work)
    if not events:
        raise Problem(404, "Not Found", "No event has this correlation ID.")
    return views.story(events, found, state.settings.jaeger_ui_url, truncated=not whole)


_FRAMES = {
    "description": "server-sent events `ready`, `change`, `approval`, `gap`, `slow` and `bye`; a comment as"
    " heartbeat",
    "content": {
        "text/event-stream": {"schema": {"$ref": "#/components/schemas/StreamEvent"}},
    },
}


@router.get(
    "/stream",
    summary="Follow every state change of messages and questions, as server-sent events",
    response_class=Response,
    responses={200: _FRAMES, **problems({503: "the database is down, or too many streams are open"})},
)
async def stream(
    request: Request,
    *,
    state: State,
    caller: CallerKey,
    status: Annotated[States, Query(), about("into one of these states", ["delivered"])] = [],  # noqa: B006 - FastAPI copies it
    type: Annotated[Types, Query(), about("of one of these types", ["build_failed"])] = [],  # noqa: A002, B006 - the parameter's public name; the same
    chat_id: QueriedChat = None,
    correlation_id: Annotated[Words | None, Query(), about("of the event", "order-4711")] = None,
    bot: Annotated[BotName | None, Query(), about("which bot sends it", "default")] = None,
    last_event_id: Annotated[
        str | None,
        Header(
            alias="Last-Event-ID",
            max_length=100,
            description="the ID of the last event that you received",
            examples=["812.4711.1"],
        ),
    ] = None,
) -> Response:
    """Starts now, or after `Last-Event-ID`, at any replica, for changes of the last 24 hours.

    It ends within a second after its key was revoked or has expired.
    With `status` it has changes of messages alone, without the event `approval`.
    """
    after = None
    if last_event_id:
        after = Position.parse(last_event_id)
        if after is None:
            raise Problem(422, "Invalid input", "Last-Event-ID is not an ID of this stream.")
    wanted = StreamFilter(
        frozenset(one.value for one in status),
        frozenset(type),
        await _chat_ids(state, chat_id, bot),
        correlation_id,
        bot,
    )
    stopping: asyncio.Event = request.app.state.stopping
    watch = state.authenticator.ring.watch(caller)
    frames = await state.tracking.stream.open(wanted, after, stopping, watch)
    return EventStream(frames, state.tracking.metrics.dropped.inc)


async def _chat_ids(state: BridgeState, chat_id: int | None, bot: str | None) -> frozenset[int]:
    if chat_id is None:
        return frozenset()
    read = partial(chat_state.ids_of, chat_id=chat_id, bot=bot)
    return frozenset(await state.outbox.database.read("stream", read))


#: Models of the stream's events, which FastAPI does not see.
SCHEMAS: dict[str, type[BaseModel]] = {
    model.__name__: model for model in (StreamEvent, StreamChange, StreamApproval, StreamNote)
}
