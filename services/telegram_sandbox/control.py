"""The control API: faults, limits, time, chats and people on demand, and the log of everything that happened.

Open on purpose: the sandbox listens on loopback and holds nothing but what was sent to it.
"""

from dataclasses import asdict, replace
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Body, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from services.kit.errors import Problem
from services.telegram_sandbox import history, people
from services.telegram_sandbox.bots import Bot
from services.telegram_sandbox.chats import Chat, ChatType
from services.telegram_sandbox.faults import Fault, Kind
from services.telegram_sandbox.sandbox import CHAT_STATE, Sandbox

MAX_ID = 1 << 52
ChatId = Annotated[int, Field(ge=-MAX_ID, le=MAX_ID)]
router = APIRouter(prefix="/control", tags=["control"])


class Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NewFault(Form):
    """One rule; the README of the package tells what each kind does."""

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
    hold_seconds: float | None = Field(None, ge=0)
    unsent_per_chat: int | None = Field(None, ge=0)
    active_requests: int | None = Field(None, ge=0)


class NewChat(Form):
    id: ChatId
    type: ChatType = ChatType.PRIVATE
    title: str = ""
    username: str | None = None
    topics: dict[int, str] = Field({}, description="not empty: a forum")
    started: bool = True


class NewRange(Form):
    first_id: int = Field(ge=1, le=MAX_ID)
    count: int = Field(ge=1, le=100_000)


class Saying(Form):
    text: str
    person_id: int | None = Field(None, description="who, in a group; unset: Ada, 1001")
    thread_id: int | None = None
    reply_to: int | None = None


class Tapping(Form):
    """A button is found by its callback data, or by its text."""

    data: str | None = None
    text: str | None = None
    person_id: int | None = None


def sandbox_of(request: Request) -> Sandbox:
    sandbox: Sandbox = request.state.sandbox
    return sandbox


def _chat(request: Request, chat_id: int) -> Chat:
    try:
        return people.chat_of(sandbox_of(request), chat_id)
    except people.CannotBeDoneError as error:
        raise Problem(404, "Not Found", str(error)) from None


def _bot(request: Request, bot_id: int) -> Bot:
    bot = sandbox_of(request).bots.by_id(bot_id)
    if bot is None:
        raise Problem(404, "Not Found", f"there is no bot {bot_id}")
    return bot


def _state(chat: Chat) -> dict[str, Any]:
    return {name: getattr(chat, name) for name in CHAT_STATE} | {"messages": len(chat.messages)}


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
    summary="Everything that happened, JSON lines, oldest first; X-Next-Cursor is the cursor for the next page",
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


@router.post("/chats", status_code=201, summary="Create a chat that has started the bot, or contains it")
async def create_chat(request: Request, form: NewChat) -> dict[str, Any]:
    sandbox = sandbox_of(request)
    if sandbox.chats.get(form.id) is not None:
        raise Problem(409, "Conflict", f"there is a chat {form.id} already")
    if form.id == 0 or (form.id > 0) != (form.type is ChatType.PRIVATE):
        raise Problem(422, "Invalid input", "private chats have positive ids, all others negative ones")
    title = form.title or f"{form.type.title()} {form.id}"
    chat = Chat(form.id, form.type, title, form.username, dict(form.topics), started=form.started)
    return _state(sandbox.add_chat(chat))


@router.post("/chats/range", status_code=201, summary="Create many private chats with consecutive ids")
async def create_range(request: Request, form: NewRange) -> dict[str, int]:
    sandbox = sandbox_of(request)
    fresh = [i for i in range(form.first_id, form.first_id + form.count) if sandbox.chats.get(i) is None]
    for chat_id in fresh:
        sandbox.add_chat(Chat(chat_id, ChatType.PRIVATE, f"Person {chat_id}"))
    return {"created": len(fresh)}


@router.get("/chats/{chat_id}", summary="A chat's state")
async def get_chat(request: Request, chat_id: ChatId) -> dict[str, Any]:
    return _state(_chat(request, chat_id))


@router.post("/chats/{chat_id}/say", status_code=201, summary="Write as a person; answers the message")
async def say(request: Request, chat_id: ChatId, form: Saying) -> dict[str, Any]:
    _chat(request, chat_id)
    try:
        return people.say(sandbox_of(request), chat_id, **form.model_dump())
    except people.CannotBeDoneError as error:
        raise Problem(409, "Conflict", str(error)) from None


@router.post(
    "/chats/{chat_id}/messages/{message_id}/tap", status_code=201, summary="Tap an inline button as a person"
)
async def tap(request: Request, chat_id: ChatId, message_id: int, form: Tapping) -> dict[str, str]:
    _chat(request, chat_id)
    try:
        query_id = people.tap(
            sandbox_of(request),
            chat_id,
            message_id,
            data=form.data,
            label=form.text,
            person_id=form.person_id,
        )
    except people.CannotBeDoneError as error:
        raise Problem(409, "Conflict", str(error)) from None
    return {"callback_query_id": query_id}


Change = Literal["block", "unblock", "deactivate", "kick", "leave", "join", "delete", "restrict", "allow"]


@router.post(
    "/chats/{chat_id}/{change}",
    summary="Block, unblock, deactivate, kick, leave, join, delete, restrict, allow",
)
async def change_chat(request: Request, chat_id: ChatId, change: Change) -> dict[str, Any]:
    sandbox, chat = sandbox_of(request), _chat(request, chat_id)
    try:
        match change:
            case "block" | "unblock":
                people.set_blocked(sandbox, chat, blocked=change == "block")
            case "deactivate":
                people.deactivate(sandbox, chat)
            case "kick" | "leave" | "join":
                people.set_member(sandbox, chat, member=change == "join", kicked=change == "kick")
            case "delete":
                people.delete(sandbox, chat)
            case _:
                people.restrict(sandbox, chat, can_send=change == "allow")
    except people.CannotBeDoneError as error:
        raise Problem(409, "Conflict", str(error)) from None
    return _state(chat)


@router.put("/chats/{chat_id}/upgrade", summary="Turn a group into a supergroup with a new id")
async def upgrade(
    request: Request, chat_id: ChatId, new_id: Annotated[int, Body(embed=True, lt=0, ge=-MAX_ID)]
) -> dict[str, Any]:
    try:
        return _state(people.upgrade(sandbox_of(request), _chat(request, chat_id), new_id))
    except people.CannotBeDoneError as error:
        raise Problem(409, "Conflict", str(error)) from None


@router.put("/chats/{chat_id}/topics/{topic_id}", summary="Create a topic, or close and reopen it")
async def put_topic(
    request: Request,
    chat_id: ChatId,
    topic_id: Annotated[int, Field(ge=1, le=MAX_ID)],
    name: Annotated[str, Body(min_length=1, max_length=128)],
    closed: Annotated[bool, Body()] = False,  # a field of the request's body
) -> dict[str, Any]:
    sandbox, chat = sandbox_of(request), _chat(request, chat_id)
    if chat.type is not ChatType.SUPERGROUP:
        raise Problem(409, "Conflict", "only supergroups have topics")
    chat.topics[topic_id] = name
    (chat.closed_topics.add if closed else chat.closed_topics.discard)(topic_id)
    sandbox.chat_changed(chat, "topic")
    return _state(chat)


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
