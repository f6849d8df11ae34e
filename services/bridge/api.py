"""The bridge's routes. The intake parses by itself and is passed by the middleware: it is hot."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AwareDatetime, BaseModel, StringConstraints
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.bridge import accept, messages, said
from services.bridge.accept import Caller, Reading
from services.bridge.approvals import posted
from services.bridge.keys.entry import Door, Entry
from services.bridge.keys.keys import Scope
from services.bridge.settings import BridgeSettings
from services.contracts.events import CATEGORIES, Accepted, AcceptedBatch, NewEvent
from services.contracts.fields import BotName
from services.kit import logs
from services.kit.auth import bearer
from services.kit.clock import rfc3339
from services.kit.errors import Problem
from services.kit.hot import HotResponse, HotRoute
from services.kit.telemetry import Telemetry, TraceContext
from services.outbox import queries
from services.outbox.engine import Outbox
from services.outbox.messages import State
from services.outbox.once import RepeatedError
from services.outbox.queries import Search

intake = APIRouter(tags=["events"], route_class=HotRoute)
router = APIRouter(prefix="/api/v1", tags=["messages"])
public = APIRouter(tags=["service"])

_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "oneOf": [
                    {"$ref": "#/components/schemas/NewEvent"},
                    {
                        "type": "array",
                        "items": {"$ref": "#/components/schemas/NewEvent"},
                        "minItems": 1,
                        "maxItems": accept.LARGEST_BATCH,
                    },
                ]
            }
        }
    },
}
_HEADERS = [
    {"name": name, "in": "header", "required": False, "schema": schema, "description": description}
    for name, schema, description in (
        (
            "Idempotency-Key",
            {"type": "string", "maxLength": accept.LONGEST_KEY},
            "a repetition with the same key and body gets the first answer again",
        ),
        ("traceparent", {"type": "string"}, "W3C trace context of the caller"),
        ("X-Correlation-ID", {"type": "string", "maxLength": 128}, "shown on every message and log line"),
        ("X-CCTelegram-Key-Id", {"type": "string"}, "signed requests: id of the signing key"),
        ("X-CCTelegram-Timestamp", {"type": "string"}, "signed requests: seconds since the epoch, ±300 s"),
    )
]


@intake.post(
    "/events", include_in_schema=False, dependencies=[Depends(bearer)], status_code=202, name="post_events"
)
@intake.post(
    "/api/v1/events",
    status_code=202,
    summary="Take one event, or a list of up to 500",
    response_model=Accepted | AcceptedBatch,
    dependencies=[Depends(bearer)],
    openapi_extra={"requestBody": _BODY, "parameters": _HEADERS},
    responses={
        code: {"description": text, "content": {"application/problem+json": {}}}
        for code, text in {
            400: "a header is wrong",
            401: "the key or the signature is missing or wrong",
            409: "this Idempotency-Key is in flight, or the signature was used before",
            413: "the body is too large",
            422: "the input is wrong: one entry a field",
            429: "over the rate limit",
            503: "nothing was stored; try again",
        }.items()
    },
)
async def post_events(request: Request) -> Response:
    """Answers 202 only once the events are on disk."""
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
    while reading.codes and await posted.are_taken(outbox.database, reading.codes):
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


#: Neither database keeps a NUL in a text, so none can be found.
Words = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$", max_length=200)]
Id = Annotated[str, Path(pattern=r"^[^\x00]*$", max_length=64)]


class Filter(BaseModel, extra="forbid"):
    """What to search for; all of it together."""

    status: list[State] = []
    type: Words | None = None
    chat_id: Annotated[int, Query(ge=-(2**53), le=2**53)] | None = None
    bot: BotName | None = None
    correlation_id: Words | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    q: Words | None = None
    cursor: Annotated[int, Query(ge=1, le=2**53)] | None = None
    limit: Annotated[int, Query(ge=1, le=500)] = 50


@router.get("/messages", summary="Search, newest first")
async def search(outbox: Engine, wanted: Annotated[Filter, Query()]) -> dict[str, Any]:
    page = await outbox.database.read(
        "search", lambda connection: queries.search(connection, _search(wanted))
    )
    cursor = None if page.cursor is None else str(page.cursor)
    return {"items": [messages.summary(row) for row in page.rows], "next_cursor": cursor}


def _search(wanted: Filter) -> Search:
    try:
        since = wanted.since.timestamp() if wanted.since else None
        until = wanted.until.timestamp() if wanted.until else None
    except (OverflowError, ValueError) as error:
        raise Problem(422, "Invalid input", "since or until is outside the calendar") from error
    return Search(
        states=[state.value for state in wanted.status],
        type=wanted.type,
        chat_id=wanted.chat_id,
        bot=wanted.bot,
        correlation_id=wanted.correlation_id,
        since=since,
        until=until,
        text=wanted.q,
        before=wanted.cursor,
        limit=wanted.limit,
    )


@router.get("/messages/{message_id}", summary="The message, every state change and every attempt")
async def one(outbox: Engine, message_id: Id, request: Request) -> dict[str, Any]:
    life = await outbox.database.read("read", lambda connection: queries.life(connection, message_id))
    if life is None:
        raise Problem(404, "Not Found", "There is no message with this id.")
    settings: BridgeSettings = request.state.settings
    return messages.whole(life, settings.jaeger_ui_url)


@router.get("/events/{event_id}", summary="The event as it was posted, and its messages")
async def event(outbox: Engine, event_id: Id) -> dict[str, Any]:
    found = await outbox.database.read(
        "read", lambda connection: queries.event_with_messages(connection, event_id)
    )
    if found is None:
        raise Problem(404, "Not Found", "There is no event with this id.")
    row, rows = found
    return {
        "id": row["id"],
        "accepted_at": rfc3339(row["accepted_at"]),
        "correlation_id": row["correlation_id"],
        "client": row["client"],
        "event": said.as_posted(row["body"]),
        "messages": [messages.summary(message) for message in rows],
    }


@router.get("/event-types", summary="The types of events, by category")
async def event_types(category: str | None = None) -> dict[str, Any]:
    if category is not None and category not in CATEGORIES:
        raise Problem(422, "Invalid input", f"category is one of {', '.join(CATEGORIES)}")
    types = [
        {"type": kind, "category": name}
        for name, kinds in CATEGORIES.items()
        for kind in kinds
        if category in (None, name)
    ]
    return {"count": len(types), "event_types": types}


@router.get("/stats", summary="What was accepted and delivered since the start, and the queue now")
async def stats(outbox: Engine, request: Request) -> dict[str, Any]:
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


@public.get("/dashboard/", include_in_schema=False)
@public.get("/dashboard", include_in_schema=False)
async def dashboard(request: Request) -> RedirectResponse:
    settings: BridgeSettings = request.state.settings
    return RedirectResponse(f"{settings.dashboard_url.rstrip('/')}/dashboard/", 307)


#: Referred to by the intake's request body, which FastAPI does not see.
SCHEMAS: dict[str, type[BaseModel]] = {"NewEvent": NewEvent}
