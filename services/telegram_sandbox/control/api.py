"""The control API: faults, limits, time, bots and the event log.

It needs no key: the sandbox listens on loopback and contains only what was sent to it. Requests that a
browser sends for another website's page are refused, here and at the page and the Bot API.
"""

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal, get_args

import orjson
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
)

from services.contracts.fields import Details, NoBool
from services.kit.errors import Problem
from services.kit.field_errors import ErrorText
from services.telegram_sandbox.faults import Fault, Kind
from services.telegram_sandbox.state import restore
from services.telegram_sandbox.state.bots import Bot
from services.telegram_sandbox.state.sandbox import Sandbox

MAX_ID = 1 << 52
#: Streams of the page and requests with `wait` that are open at once; they need no key.
MOST_WAITING = 200
ChatId = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID), NoBool]
Seed = ChatId
#: The id of a message, topic, bot or fault.
Id = Annotated[int, Field(ge=0, le=MAX_ID), NoBool]
Seconds = Annotated[float, Field(ge=0, le=31_536_000), NoBool]
Words = Annotated[str, StringConstraints(max_length=256)]
#: More than a test needs: the real limit is the size of the request's body.
LONGEST_BODY = 1 << 20
MOST = 1_000
router = APIRouter(prefix="/control", tags=["control"])


class StrictForm(BaseModel):
    """Refuses unknown fields, true or false for a number, and anything else for true or false."""

    model_config = ConfigDict(extra="forbid")

    @field_validator("*", mode="before")
    @classmethod
    def _truth(cls, value: object, info: ValidationInfo) -> object:
        kind = cls.model_fields[info.field_name or ""].annotation
        is_flag = bool in (kind, *get_args(kind))
        if isinstance(value, bool) and not is_flag:
            raise ValueError("this is neither true nor false")
        if is_flag and value is not None and not isinstance(value, bool):
            raise ValueError("write true or false")
        return value


class NewFault(StrictForm):
    """One fault; the docstring of services.telegram_sandbox describes each kind."""

    kind: Kind
    deliver: bool = Field(default=False, description="run the method before the fault")
    status: int = Field(500, ge=200, le=599)
    description: str = Field("Internal Server Error", max_length=LONGEST_BODY)
    parameters: Details | None = None
    body: str = Field("", max_length=LONGEST_BODY)
    content_type: Annotated[
        str,
        Field(max_length=256, pattern=r"^[\x20-\x7e]+$"),
        ErrorText("write 1 to 256 printable ASCII characters"),
    ] = "text/html"
    seconds: float = Field(0.0, ge=0, le=86_400, description="duration of the latency or the hang")
    seconds_max: float | None = Field(
        None, ge=0, le=86_400, description="latency: random between seconds and this"
    )
    methods: list[Words] = Field([], max_length=MOST, description="empty: all")
    chat_ids: list[ChatId] = Field([], max_length=MOST, description="empty: all")
    times: int | None = Field(1, ge=1, le=MAX_ID, description="null: until it is deleted")
    probability: float = Field(1.0, gt=0, le=1)

    def fault(self) -> Fault:
        values = self.model_dump() | {
            "methods": frozenset(name.lower() for name in self.methods),
            "chat_ids": frozenset(self.chat_ids),
        }
        return Fault(**values)


class NewLimits(StrictForm):
    """Limits to change; the counters are reset."""

    enabled: bool | None = None
    chat_per_second: float | None = Field(None, gt=0, le=1e6)
    chat_burst: int | None = Field(None, ge=1, le=1_000_000)
    group_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    bot_per_second: int | None = Field(None, ge=1, le=1_000_000)
    paid_per_second: int | None = Field(None, ge=1, le=1_000_000)
    hold_seconds: float | None = Field(None, ge=0, le=86_400)
    unsent_per_chat: int | None = Field(None, ge=0, le=1_000_000)
    active_requests: int | None = Field(None, ge=0, le=1_000_000)


def sandbox_of(request: Request) -> Sandbox:
    sandbox: Sandbox = request.state.sandbox
    return sandbox


def check_room(request: Request) -> None:
    """Refuses a request that would wait for the event log.

    Raises:
        Problem: 503, too many wait already.
    """
    if sandbox_of(request).event_log.waiting >= MOST_WAITING:
        detail = f"{MOST_WAITING} streams and waiting requests are open already."
        raise Problem(503, "Service Unavailable", detail, headers={"Retry-After": "5"})


def _bot(request: Request, bot_id: int) -> Bot:
    bot = sandbox_of(request).bots.by_id(bot_id)
    if bot is None:
        raise Problem(404, "Not Found", f"there is no bot {bot_id}")
    return bot


@router.post(
    "/faults", status_code=201, summary="Add faults; the oldest that matches a request is used first"
)
async def add_faults(
    request: Request,
    faults: Annotated[NewFault | Annotated[list[NewFault], Field(max_length=MOST)], Body()],
) -> dict[str, list[int]]:
    forms = faults if isinstance(faults, list) else [faults]
    return {"ids": sandbox_of(request).faults.add_all([form.fault() for form in forms])}


@router.get("/faults", summary="Active faults, with their remaining times")
async def list_faults(request: Request) -> list[dict[str, Any]]:
    rules = sandbox_of(request).faults.rules
    return [{"id": number, **asdict(fault)} for number, fault in rules.items()]


@router.delete("/faults", status_code=204, summary="Delete all faults")
async def clear_faults(request: Request) -> None:
    sandbox_of(request).faults.clear()


@router.delete("/faults/{fault_id}", status_code=204)
async def remove_fault(request: Request, fault_id: Id) -> None:
    if not sandbox_of(request).faults.remove(fault_id):
        raise Problem(404, "Not Found", f"there is no fault {fault_id}")


@router.put("/faults/seed", status_code=204, summary="Seed the random numbers of faults")
async def seed_faults(request: Request, seed: Annotated[Seed, Body(embed=True)]) -> None:
    sandbox_of(request).faults.seed(seed)


@router.get("/limits", summary="Telegram's limits in force")
async def get_limits(request: Request) -> dict[str, Any]:
    return asdict(sandbox_of(request).flood.limits)


@router.patch("/limits", summary="Change limits, or switch all off and on with `enabled`")
async def change_limits(request: Request, limits: NewLimits) -> dict[str, Any]:
    flood = sandbox_of(request).flood
    flood.change(replace(flood.limits, **limits.model_dump(exclude_none=True)))
    return asdict(flood.limits)


@router.get("/clock", summary="The sandbox's time, seconds since the epoch")
async def get_clock(request: Request) -> dict[str, float]:
    return {"now": sandbox_of(request).clock.now()}


@router.post("/clock/advance", summary="Move the sandbox's time forward")
async def advance_clock(request: Request, seconds: Annotated[Seconds, Body(embed=True)]) -> dict[str, float]:
    sandbox_of(request).clock.advance(seconds)
    return {"now": sandbox_of(request).clock.now()}


@router.get(
    "/log",
    summary="The event log as JSON lines, oldest first; X-Next-Cursor is the next page's cursor",
    response_class=Response,
    responses={
        200: {"content": {"application/x-ndjson": {}}},
        410: {"description": "the entries are no longer in memory; read the file"},
    },
)
async def read_log(
    request: Request,
    cursor: Annotated[int, Query(ge=0, le=MAX_ID, description="`seq` of the last entry that was read")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    wait: Annotated[float, Query(ge=0, le=50, description="seconds to wait for a new entry")] = 0,
) -> Response:
    event_log = sandbox_of(request).event_log
    if cursor + 1 < event_log.oldest:
        raise Problem(
            410, "Gone", f"memory starts at seq {event_log.oldest}; older entries are in {event_log.path}"
        )
    if wait:
        check_room(request)
        await event_log.wait(cursor, wait)
    lines = event_log.read(cursor, limit)
    headers = {"X-Next-Cursor": str(cursor + len(lines)), "Cache-Control": "no-store"}
    return Response(b"".join(lines), headers=headers, media_type="application/x-ndjson")


@router.get("/bots", summary="Bots, without their tokens")
async def list_bots(request: Request) -> list[dict[str, Any]]:
    return [_bot_state(bot) for bot in sandbox_of(request).bots]


@router.post("/bots", status_code=201, summary="Accept another bot token")
async def add_bot(request: Request, token: Annotated[Words, Body(embed=True)]) -> dict[str, Any]:
    sandbox = sandbox_of(request)
    try:
        return _bot_state(sandbox.bots.add(token, sandbox.clock.now()))
    except ValueError as error:
        raise Problem(422, "Invalid input", str(error)) from None


@router.post(
    "/bots/{bot_id}/{change}",
    summary="Revoke or restore a token, freeze or unfreeze a bot",
)
async def change_bot(
    request: Request, bot_id: Id, change: Literal["revoke", "restore", "freeze", "unfreeze"]
) -> dict[str, Any]:
    bot = _bot(request, bot_id)
    if change in ("revoke", "restore"):
        bot.revoked = change == "revoke"
    else:
        bot.frozen = change == "freeze"
    sandbox_of(request).record("bot", bot=bot.id, event=change)
    return _bot_state(bot)


@router.get("/bots/{bot_id}/updates", summary="Updates that the bot has not confirmed")
async def pending_updates(request: Request, bot_id: Id) -> Response:
    updates = [update.wire() for update in _bot(request, bot_id).queue.pending.values()]
    return Response(orjson.dumps(updates), media_type="application/json")


@router.post(
    "/reset",
    status_code=204,
    summary="Reset: no messages, updates or faults; initial chats and limits",
)
async def reset(request: Request) -> None:
    restore.reset(sandbox_of(request))


def _bot_state(bot: Bot) -> dict[str, Any]:
    return {
        "id": bot.id,
        "username": bot.username,
        "revoked": bot.revoked,
        "frozen": bot.frozen,
        "webhook": bot.webhook.url if bot.webhook else None,
        "pending_updates": len(bot.queue.pending),
        "commands": bot.commands,
    }
