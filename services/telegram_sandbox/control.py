"""The control API: faults, limits, time and bots on demand, and the log of everything that happened.

Open on purpose: the sandbox listens on loopback and holds nothing but what was sent to it.
"""

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.kit.errors import Problem
from services.telegram_sandbox import history
from services.telegram_sandbox.bots import Bot
from services.telegram_sandbox.faults import Fault, Kind
from services.telegram_sandbox.sandbox import Sandbox

MAX_ID = 1 << 52
ChatId = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]
router = APIRouter(prefix="/control", tags=["control"])


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewFault(Form):
    """One rule; the package's docstring tells what each kind does."""

    kind: Kind
    deliver: bool = Field(default=False, description="do what was asked before the bad answer")
    status: int = Field(500, ge=200, le=599)
    description: str = "Internal Server Error"
    parameters: dict[str, Any] | None = None
    body: str = ""
    content_type: str = Field("text/html", pattern=r"^[\x20-\x7e]+$")
    seconds: float = Field(0.0, ge=0, le=86_400, description="latency, or how long a hang lasts")
    seconds_max: float | None = Field(None, ge=0, le=86_400, description="latency: random up to this")
    methods: list[str] = Field([], description="empty: all")
    chat_ids: list[ChatId] = Field([], description="empty: all")
    times: int | None = Field(1, ge=1, description="null: until it is deleted")
    probability: float = Field(1.0, gt=0, le=1)

    def fault(self) -> Fault:
        values = self.model_dump() | {
            "methods": frozenset(name.lower() for name in self.methods),
            "chat_ids": frozenset(self.chat_ids),
        }
        return Fault(**values)


class NewLimits(Form):
    """What is given is changed; the counters begin anew."""

    enabled: bool | None = None
    chat_per_second: float | None = Field(None, gt=0)
    chat_burst: int | None = Field(None, ge=1, le=1_000_000)
    group_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    bot_per_second: int | None = Field(None, ge=1, le=1_000_000)
    paid_per_second: int | None = Field(None, ge=1, le=1_000_000)
    hold_seconds: float | None = Field(None, ge=0)
    unsent_per_chat: int | None = Field(None, ge=0)
    active_requests: int | None = Field(None, ge=0)


def sandbox_of(request: Request) -> Sandbox:
    sandbox: Sandbox = request.state.sandbox
    return sandbox


def _bot(request: Request, bot_id: int) -> Bot:
    bot = sandbox_of(request).bots.by_id(bot_id)
    if bot is None:
        raise Problem(404, "Not Found", f"there is no bot {bot_id}")
    return bot


@router.post(
    "/faults", status_code=201, summary="Add faults; the oldest that matches a request is used first"
)
async def add_faults(
    request: Request, faults: Annotated[NewFault | list[NewFault], Body()]
) -> dict[str, list[int]]:
    wanted = faults if isinstance(faults, list) else [faults]
    return {"ids": sandbox_of(request).faults.add_all([fault.fault() for fault in wanted])}


@router.get("/faults", summary="Faults in force, with the times that are left")
async def list_faults(request: Request) -> list[dict[str, Any]]:
    rules = sandbox_of(request).faults.rules
    return [{"id": number, **asdict(fault)} for number, fault in rules.items()]


@router.delete("/faults", status_code=204, summary="No more faults")
async def clear_faults(request: Request) -> None:
    sandbox_of(request).faults.clear()


@router.delete("/faults/{fault_id}", status_code=204)
async def remove_fault(request: Request, fault_id: int) -> None:
    if not sandbox_of(request).faults.remove(fault_id):
        raise Problem(404, "Not Found", f"there is no fault {fault_id}")


@router.put("/faults/seed", status_code=204, summary="Seed the randomness of faults")
async def seed_faults(request: Request, seed: Annotated[int, Body(embed=True)]) -> None:
    sandbox_of(request).faults.seed(seed)


@router.get("/limits", summary="Telegram's limits as they are applied")
async def get_limits(request: Request) -> dict[str, Any]:
    return asdict(sandbox_of(request).flood.limits)


@router.patch("/limits", summary="Change limits, or switch them off and on with `enabled`")
async def change_limits(request: Request, limits: NewLimits) -> dict[str, Any]:
    flood = sandbox_of(request).flood
    flood.change(replace(flood.limits, **limits.model_dump(exclude_none=True)))
    return asdict(flood.limits)


@router.get("/clock", summary="The sandbox's time, seconds since the epoch")
async def get_clock(request: Request) -> dict[str, float]:
    return {"now": sandbox_of(request).clock.now()}


@router.post("/clock/advance", summary="Move the sandbox's time forward")
async def advance_clock(
    request: Request, seconds: Annotated[float, Body(embed=True, ge=0, le=31_536_000)]
) -> dict[str, float]:
    sandbox_of(request).clock.advance(seconds)
    return {"now": sandbox_of(request).clock.now()}


@router.get(
    "/log",
    summary="Everything that happened, JSON lines, oldest first; X-Next-Cursor is the next page's cursor",
    response_class=Response,
    responses={
        200: {"content": {"application/x-ndjson": {}}},
        410: {"description": "left memory; read the file"},
    },
)
async def read_log(
    request: Request,
    cursor: Annotated[int, Query(ge=0, description="`seq` of the last entry already read")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 1_000,
    wait: Annotated[float, Query(ge=0, le=50, description="seconds to wait for an entry")] = 0,
) -> Response:
    journal = sandbox_of(request).journal
    if cursor + 1 < journal.oldest:
        raise Problem(
            410, "Gone", f"memory begins at seq {journal.oldest}; older entries are in {journal.path}"
        )
    if wait:
        await journal.wait(cursor, wait)
    lines = journal.read(cursor, limit)
    headers = {"X-Next-Cursor": str(cursor + len(lines)), "Cache-Control": "no-store"}
    return Response(b"".join(lines), headers=headers, media_type="application/x-ndjson")


@router.get("/bots", summary="Bots, without their tokens")
async def list_bots(request: Request) -> list[dict[str, Any]]:
    return [_bot_state(bot) for bot in sandbox_of(request).bots]


@router.post("/bots", status_code=201, summary="Know another bot token")
async def add_bot(request: Request, token: Annotated[str, Body(embed=True)]) -> dict[str, Any]:
    sandbox = sandbox_of(request)
    try:
        return _bot_state(sandbox.bots.add(token, sandbox.clock.now()))
    except ValueError as error:
        raise Problem(422, "Invalid input", str(error)) from None


@router.post(
    "/bots/{bot_id}/{change}",
    summary="Revoke a token (401 from now on) or restore it, freeze or unfreeze a bot",
)
async def change_bot(
    request: Request, bot_id: int, change: Literal["revoke", "restore", "freeze", "unfreeze"]
) -> dict[str, Any]:
    bot = _bot(request, bot_id)
    if change in ("revoke", "restore"):
        bot.revoked = change == "revoke"
    else:
        bot.frozen = change == "freeze"
    sandbox_of(request).record("bot", bot=bot.id, event=change)
    return _bot_state(bot)


@router.get("/bots/{bot_id}/updates", summary="Updates that the bot has not taken yet")
async def pending_updates(request: Request, bot_id: int) -> Response:
    updates = [update.wire() for update in _bot(request, bot_id).queue.pending.values()]
    return Response(orjson.dumps(updates), media_type="application/json")


@router.post(
    "/reset",
    status_code=204,
    summary="As at the start: no messages, updates, faults; first chats, default limits",
)
async def reset(request: Request) -> None:
    history.reset(sandbox_of(request))


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
