"""The bridge's routes. The intake parses by itself and is passed by the middleware: it is hot."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.bridge import bot_messages, openapi
from services.bridge.approvals import from_event
from services.bridge.events import accept
from services.bridge.events.accept import Caller, Reading
from services.bridge.keys.authenticate import Door, Entry
from services.bridge.keys.keys import Scope
from services.bridge.settings import BridgeSettings
from services.bridge.tracking import message_view, search_params
from services.contracts.events import CATEGORIES, NewEvent
from services.contracts.fields import A_TIME, AN_ID, BotName, Moment, Words, about
from services.contracts.messages import EventTypes, EventWithMessages, MessageDetail, Page, Stats
from services.kit import logs
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import Telemetry, TraceContext
from services.kit.web.fast_route import HotResponse, HotRoute
from services.kit.web.openapi import problems
from services.outbox.engine import Outbox
from services.outbox.intake.single_use import RepeatedError
from services.outbox.messages import State
from services.outbox.queries import message_queries
from services.outbox.queries.message_queries import Search

intake = APIRouter(tags=["events"], route_class=HotRoute)
router = APIRouter(prefix="/api/v1", tags=["messages"])
public = APIRouter(tags=["service"])


@intake.post("/events", **openapi.POSTING)
@intake.post("/api/v1/events", **openapi.POSTING)
async def post_events(request: Request) -> Response:
    """Answers 202 only once the events are on disk. Both paths are the same."""
    state: dict[str, Any] = request.scope["state"]
    settings: BridgeSettings = state["settings"]
    telemetry: Telemetry = state["telemetry"]
    outbox: Outbox = state["outbox"]
    headers: dict[bytes, bytes] = dict(request.scope["headers"])
    door: Door = state["door"]
    entry = await door.enter(request, headers, Scope.EVENTS_WRITE)
    caller = _caller(headers, entry)
    trace = caller.parent.child() if caller.parent else telemetry.new_trace()
    read = partial(
        accept.submission,
        entry.body,
        caller,
        trace,
        now=state["clock"].time(),
        routes=state["routing"].routes,
        trace_url=settings.jaeger_ui_url,
        asks=state["asks"],
        refusal=state["webhook_destinations"].refusal,
    )
    try:
        reading = await _understood(outbox, read, caller, entry.body)
        receipt = await outbox.enqueue(reading.submission)
    except RepeatedError:
        raise door.replayed() from None
    if receipt.replayed is not None:
        return HotResponse(receipt.replayed.encode(), 202, {b"idempotent-replayed": b"true"})
    if reading.codes:
        state["news"].posted(len(reading.codes))
    return HotResponse(reading.answer, 202, {b"traceresponse": trace.header().encode()})


async def _understood(outbox: Outbox, read: Callable[[], Reading], caller: Caller, body: bytes) -> Reading:
    """The request, read. One that was taken before is so again, though it would be refused by now."""
    try:
        reading = read()
    except Problem:
        key = accept.idempotency_key(caller, body)
        earlier = await outbox.intake.earlier(key) if key else None
        if earlier is None:
            raise
        return accept.repetition(caller, earlier)
    while reading.codes and await from_event.are_taken(outbox.database, reading.codes):
        reading = read()
    return reading


def _caller(headers: Mapping[bytes, bytes], entry: Entry) -> Caller:
    # Starlette's own headers are searched from the start for each name.
    parent, key = headers.get(b"traceparent"), headers.get(b"idempotency-key")
    return Caller(
        client=entry.key.name,
        parent=TraceContext.parse(parent.decode("latin-1")) if parent else None,
        correlation_id=logs.correlation_id.get(),
        idempotency_key=None if key is None else key.decode("latin-1"),
        once=entry.once,
    )


async def outbox_of(request: Request) -> Outbox:
    outbox: Outbox = request.state.outbox
    return outbox


Engine = Annotated[Outbox, Depends(outbox_of)]


def _id(of: str) -> Any:
    return Path(description=f"of the {of}", examples=[AN_ID])


class Filter(BaseModel, extra="forbid"):
    """What to search for; all of it together."""

    status: Annotated[list[State], about("in one of these states", ["dead_letter"])] = []
    type: Annotated[Words | None, about("type of the event", "build_failed")] = None
    chat_id: Annotated[int | None, Query(ge=-(2**53), le=2**53), about("who gets it", 1001)] = None
    bot: Annotated[BotName | None, about("which bot sends it", "default")] = None
    correlation_id: Annotated[Words | None, about("of the event", "order-4711")] = None
    campaign_id: Annotated[Words | None, about("of the event", "spring-2026")] = None
    since: Annotated[Moment | None, about("accepted at or after", A_TIME)] = None
    until: Annotated[Moment | None, about("accepted before", A_TIME)] = None
    q: Annotated[Words | None, about("part of the title", "Build")] = None
    cursor: Annotated[int | None, Query(ge=1, le=2**53), about("`next_cursor` of the page before", 4711)] = (
        None
    )
    limit: Annotated[int, Query(ge=1, le=500), about("messages at most", 50)] = 50


@router.get("/messages", summary="Search, newest first", response_model=Page)
async def search(outbox: Engine, wanted: Annotated[Filter, Query()]) -> dict[str, Any]:
    """Page by page, by `next_cursor`. `q` and `campaign_id` look at the newest 100,000 that fit the rest."""
    page = await outbox.database.read(
        "search", lambda connection: message_queries.search(connection, _search(wanted))
    )
    cursor = None if page.cursor is None else str(page.cursor)
    return {"items": [message_view.summary(row) for row in page.rows], "next_cursor": cursor}


def _search(wanted: Filter) -> Search:
    since, until = search_params.within(wanted.since, wanted.until)
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
    summary="The message, every state change and every attempt",
    response_model=MessageDetail,
    responses=problems({404: "there is no message with this id"}),
)
async def one(
    outbox: Engine, message_id: Annotated[Words, _id("message")], request: Request
) -> dict[str, Any]:
    """With the cause of each change, and for each attempt what Telegram answered and what held it up."""
    life = await outbox.database.read("read", lambda connection: message_queries.life(connection, message_id))
    if life is None:
        raise Problem(404, "Not Found", "There is no message with this id.")
    settings: BridgeSettings = request.state.settings
    return message_view.whole(life, settings.jaeger_ui_url)


@router.get(
    "/events/{event_id}",
    summary="The event as it was posted, and its messages",
    response_model=EventWithMessages,
    responses=problems({404: "there is no event with this id"}),
)
async def event(outbox: Engine, event_id: Annotated[Words, _id("event")]) -> dict[str, Any]:
    """One message for each recipient, as each of them stands."""
    found = await outbox.database.read(
        "read", lambda connection: message_queries.event_with_messages(connection, event_id)
    )
    if found is None:
        raise Problem(404, "Not Found", "There is no event with this id.")
    row, rows = found
    return {
        "id": row["id"],
        "accepted_at": rfc3339(row["accepted_at"]),
        "correlation_id": row["correlation_id"],
        "client": row["client"],
        "event": bot_messages.as_posted(row["body"]),
        "messages": [message_view.summary(message) for message in rows],
    }


@router.get("/event-types", summary="The types of events, by category", response_model=EventTypes)
async def event_types(
    category: Annotated[str | None, Query(description="only of this category", examples=["build"])] = None,
) -> dict[str, Any]:
    """Any key may ask."""
    if category is not None and category not in CATEGORIES:
        raise Problem(422, "Invalid input", f"category is one of {', '.join(CATEGORIES)}")
    types = [
        {"type": kind, "category": name}
        for name, kinds in CATEGORIES.items()
        for kind in kinds
        if category in (None, name)
    ]
    return {"count": len(types), "event_types": types}


@router.get(
    "/stats",
    summary="What was accepted and delivered since the start, and the queue now",
    response_model=Stats,
)
async def stats(outbox: Engine, request: Request) -> dict[str, Any]:
    """Measured in this process, but for the queue, which all replicas share."""
    now = request.state.clock.time()
    accepted, delivered = outbox.tally.per_second(now)
    rate = outbox.tally.delivery_rate_percent(now)
    quantiles = outbox.tally.quantiles()
    age = outbox.oldest_age
    return {
        **outbox.metrics.totals(),
        "queue": outbox.depth.by_state if outbox.depth else None,
        "oldest_message_age_seconds": None if age is None else round(age, 3),
        "rates": {"accepted_per_second": round(accepted, 3), "delivered_per_second": round(delivered, 3)},
        "delivery_rate_percent": None if rate is None else round(rate, 3),
        "latency_seconds": None
        if quantiles is None
        else {"p50": quantiles.p50, "p95": quantiles.p95, "p99": quantiles.p99},
        "active_correlations": outbox.depth.correlations if outbox.depth else None,
    }


@public.get("/dashboard/", **openapi.ELSEWHERE)
@public.get("/dashboard", include_in_schema=False)
async def dashboard(request: Request) -> RedirectResponse:
    """The dashboard is a service of its own."""
    settings: BridgeSettings = request.state.settings
    return RedirectResponse(f"{settings.dashboard_url.rstrip('/')}/dashboard/", 307)


#: Referred to by the intake's request body, which FastAPI does not see.
SCHEMAS: dict[str, type[BaseModel]] = {"NewEvent": NewEvent}
