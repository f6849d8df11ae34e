"""The routes of events, messages and statistics. `POST /events` is a fast route and parses by itself."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Scope as AsgiScope

from services.bridge import bot_messages, event_intake, openapi
from services.bridge.files import form
from services.bridge.keys import signing
from services.bridge.keys.authenticate import AdmittedRequest
from services.bridge.state import BridgeState, CallerKey, State, state_of
from services.bridge.tracking import message_view, stats_view
from services.bridge.tracking.search_params import Period, States
from services.bridge.webhooks.visible_url import visible_body, visible_event
from services.contracts.events import CATEGORIES, Category, NewEvent
from services.contracts.fields import AN_ID, BotName, Words, about
from services.contracts.keys import Scope
from services.contracts.messages import (
    Digest,
    EventType,
    EventTypes,
    EventWithMessages,
    MessageDetail,
    Page,
    Stats,
)
from services.contracts.stored import from_row
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.web.bodies import check_json_type
from services.kit.web.body_stream import BodyStream
from services.kit.web.fast_route import FastRoute
from services.kit.web.multipart import is_form
from services.kit.web.openapi import problems
from services.outbox.intake import repeats
from services.outbox.queries import message_search, message_timeline, shown
from services.outbox.queries.message_search import Search

#: Routes, beside the intake, whose latency is measured by itself: Telegram's calls.
WATCHED = ("/telegram/webhook", "/telegram/webhook/{bot}")
intake = APIRouter(tags=["events"], route_class=FastRoute)
router = APIRouter(prefix="/api/v1", tags=["messages"])
public = APIRouter(tags=["service"])


@intake.post("/events", **openapi.POSTING)
@intake.post("/api/v1/events", **openapi.POSTING)
async def post_events(request: Request) -> Response:
    """202 is answered only once the events are on disk. Both paths do the same."""
    state = await state_of(request)
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    kind = headers.get(b"content-type", b"").decode("latin-1")
    if is_form(kind):
        entry = await _form(request, state, headers)
    else:
        check_json_type(kind)
        entry = await state.authenticator.enter(request, headers, Scope.EVENTS_WRITE)
    caller = event_intake.caller_of(headers, entry)
    return (await event_intake.store(state, entry.body, caller)).response()


def streams(scope: AsgiScope) -> bool:
    """Whether a request brings files: its route reads the body piece by piece, and limits it itself."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    if scope["path"] == "/api/v1/files":
        return True
    kinds = (value for name, value in scope["headers"] if name == b"content-type")
    return scope["path"] in _TAKES_FORMS and any(is_form(kind.decode("latin-1")) for kind in kinds)


_TAKES_FORMS = frozenset({"/events", "/api/v1/events"})


async def _form(request: Request, state: BridgeState, headers: Mapping[bytes, bytes]) -> AdmittedRequest:
    """Admits a request whose body is a form, and stores its files.

    Raises:
        Problem: as of :meth:`Authenticator.by_key` and :func:`form.body_of`; 415, it is signed.
    """
    if signing.SIGNATURE in headers:
        text = "A form is not signed: upload its files with POST /api/v1/files, and sign an event as JSON."
        raise Problem(415, "Unsupported Media Type", text)
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    key = await state.authenticator.by_key(authorization, request, Scope.EVENTS_WRITE)
    kind = headers[b"content-type"].decode("latin-1")
    stream = BodyStream(request)
    try:
        body = await form.body_of(kind, stream.pieces(), state.files, state.settings.max_body_bytes)
    except Problem:
        await stream.drain()
        raise
    return AdmittedRequest(key, body)


def _id(of: str) -> Any:
    return Path(description=f"ID of the {of}", examples=[AN_ID])


class Filter(Period, extra="forbid"):
    """Selects messages; all conditions must match."""

    status: Annotated[States, about("in one of these states", ["dead_letter"])] = Field([])
    type: Annotated[Words | None, about("type of the event", "build_failed")] = None
    chat_id: Annotated[int | None, Query(ge=-(2**53), le=2**53), about("the recipient", 1001)] = None
    bot: Annotated[BotName | None, about("the bot that sends it", "default")] = None
    correlation_id: Annotated[Words | None, about("correlation ID of the event", "order-4711")] = None
    campaign_id: Annotated[Words | None, about("campaign of the event", "spring-2026")] = None
    q: Annotated[Words | None, about("part of the title", "Build")] = None
    cursor: Annotated[
        int | None, Query(ge=1, le=2**53), about("`next_cursor` of the previous page", 4711)
    ] = None
    limit: Annotated[int, Query(ge=1, le=500), about("largest number of messages", 50)] = 50


@router.get("/messages", summary="Search messages, newest first")
async def search(state: State, wanted: Annotated[Filter, Query()]) -> Page:
    """`q` and `campaign_id` search the newest 100,000 messages that match the other conditions."""
    page = await state.outbox.database.read(
        "search", lambda connection: message_search.search(connection, _search(wanted))
    )
    cursor = None if page.cursor is None else str(page.cursor)
    return Page(items=[message_view.summary(row) for row in page.rows], next_cursor=cursor)


def _search(wanted: Filter) -> Search:
    since, until = wanted.seconds()
    return Search(
        states=[state.value for state in wanted.status],
        type=wanted.type,
        chat_id=wanted.chat_id,
        bot=wanted.bot,
        correlation_id=wanted.correlation_id,
        campaign=wanted.campaign_id,
        since=since,
        until=until,
        text=wanted.q,
        before=wanted.cursor,
        limit=wanted.limit,
    )


@router.get(
    "/messages/{message_id}",
    summary="Read a message with every state change and every attempt",
    responses=problems({404: "no message has this ID"}),
)
async def one(state: State, caller: CallerKey, message_id: Annotated[Words, _id("message")]) -> MessageDetail:
    """Each change has its cause, each attempt Telegram's answer and the wait for the rate limit.

    In `body`, another client's `callback_url` has scheme, host and port only, except for `keys:admin`.
    """
    life = await state.outbox.database.read(
        "read", lambda connection: message_timeline.timeline(connection, message_id)
    )
    if life is None:
        raise Problem(404, "Not Found", "No message has this ID.")
    detail = message_view.detail(life, state.settings.jaeger_ui_url)
    repeated = await state.outbox.database.read(
        "read", lambda connection: repeats.of_event(connection, detail.event_id)
    )
    if repeated is not None:
        detail.repeats, detail.last_repeat_at = repeated[0], rfc3339(repeated[1])
    detail.digest = await state.outbox.database.read(
        "read", lambda connection: _digest(connection, message_id)
    )
    if not caller.sees_urls_of(life.message["client"]):
        detail.body = visible_body(detail.body)
    return detail


def _digest(connection: Connection, message_id: str) -> Digest | None:
    found = shown.digest_of(connection, message_id)
    if found is None:
        return None
    members = shown.members_of(connection, found.id)
    return Digest(key=found.key, until=rfc3339(found.until), message_id=found.message_id, members=members)


@router.get(
    "/events/{event_id}",
    summary="Read an event as it was posted, and its messages",
    responses=problems({404: "no event has this ID"}),
)
async def event(
    state: State, caller: CallerKey, event_id: Annotated[Words, _id("event")]
) -> EventWithMessages:
    """There is one message for each recipient.

    Another client's `callback_url` has scheme, host and port only, unless the key has `keys:admin`.
    """
    found = await state.outbox.database.read(
        "read", lambda connection: message_timeline.of_event(connection, event_id)
    )
    if found is None:
        raise Problem(404, "Not Found", "No event has this ID.")
    row, rows = found
    posted = bot_messages.posted_event(row["body"], row["origin"])
    return from_row(
        EventWithMessages,
        id=row["id"],
        accepted_at=rfc3339(row["accepted_at"]),
        correlation_id=row["correlation_id"],
        client=row["client"],
        event=posted if caller.sees_urls_of(row["client"]) else visible_event(posted),
        messages=[message_view.summary(message) for message in rows],
    )


@router.get("/event-types", summary="List the event types by category")
async def event_types(
    category: Annotated[Category | None, Query(description="only this category", examples=["build"])] = None,
) -> EventTypes:
    """Any key may read them."""
    types = [
        EventType(type=kind, category=name)
        for name, kinds in CATEGORIES.items()
        for kind in kinds
        if category in (None, name)
    ]
    return EventTypes(count=len(types), event_types=types)


@router.get("/stats", summary="Read counts, rates and the state of the queue")
async def stats(state: State) -> Stats:
    """The numbers are those of all replicas, measured about once a second; each replica gives the same."""
    return stats_view.stats(state.totals.latest, state.outbox.queue)


@public.get("/dashboard/", **openapi.ELSEWHERE)
@public.get("/dashboard", include_in_schema=False)
async def dashboard(state: State) -> RedirectResponse:
    """The dashboard is a separate service."""
    return RedirectResponse(f"{state.settings.dashboard_url.rstrip('/')}/dashboard/", 307)


#: Models of the request body of `POST /events`, which FastAPI does not see.
SCHEMAS: dict[str, type[BaseModel]] = {"NewEvent": NewEvent}
