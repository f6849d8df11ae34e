"""Chats over REST: a name, a time zone, quiet hours."""

from functools import partial
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from starlette.requests import Request

from services.bridge.bots import DEFAULT
from services.bridge.chats import quiet, store
from services.bridge.chats.quiet import Day
from services.contracts.fields import BotName, Strict
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.outbox.engine import Outbox
from services.outbox.intake import CHANNEL

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ChatId = Annotated[int, Path(ge=-(2**53), le=2**53)]


BotOf = Annotated[BotName, Query(description="each bot has its own view of a chat")]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # unknown, no name at all, or the name of a folder
        raise ValueError("no time zone of this name, such as Europe/Berlin, is known") from None
    return name


class QuietHours(Strict):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: ClockTime = Field(alias="from", description="on the wall clock there, such as 22:00")
    end: ClockTime = Field(alias="to", description="not after `from`: on the next day")
    days: Annotated[list[Day], Field(min_length=1, max_length=7)] = Field(
        list(quiet.DAYS), description="on which they begin"
    )
    action: Literal["delay", "silent"] = Field(
        "delay",
        description="wait for the end, or go without a sound; what is urgent or critical goes as ever",
    )

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same time")
        return self


class ChatSettings(Strict):
    name: Annotated[str, StringConstraints(max_length=128)] = ""
    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)] = Field(
        "UTC", description="IANA name, such as Europe/Berlin"
    )
    quiet_hours: QuietHours | None = None


class ChatView(BaseModel):
    chat_id: int
    bot: str
    name: str
    time_zone: str
    quiet_hours: QuietHours | None
    quiet_until: str | None = Field(
        description="end of the quiet hours that it is now; null: it is not quiet"
    )
    muted_until: str | None
    blocked: str | None = Field(description="why the chat refuses the bot")
    migrated_to: int | None = Field(description="id of the supergroup that the group became")


@router.get(
    "/{chat_id}",
    summary="A chat: how its people want it, and how it stands",
    responses={404: {"description": "nothing is known of this chat"}},
)
async def read(request: Request, chat_id: ChatId, bot: BotOf = DEFAULT) -> ChatView:
    return await _view(request, chat_id, bot)


@router.put("/{chat_id}", summary="Say how a chat's people want it; what is left out is as at first")
async def put(request: Request, chat_id: ChatId, wanted: ChatSettings, bot: BotOf = DEFAULT) -> ChatView:
    """What waits for the end of former quiet hours is decided anew."""
    if bot not in request.state.bots:
        there = ", ".join(request.state.bots)
        raise invalid_input([{"loc": ["query", "bot"], "msg": f"no bot has this name; there are {there}"}])
    outbox: Outbox = request.state.outbox
    work = partial(
        store.put,
        bot=bot,
        chat_id=chat_id,
        settings=wanted.model_dump_json(by_alias=True),
        now=request.state.clock.time(),
    )
    await outbox.database.write("chat_write", work, wake=CHANNEL)
    return await _view(request, chat_id, bot)


async def _view(request: Request, chat_id: int, bot: str) -> ChatView:
    outbox: Outbox = request.state.outbox
    row: Any = await outbox.database.read("chat", partial(store.one, bot=bot, chat_id=chat_id))
    if row is None:
        raise Problem(
            404, "Not Found", "Nothing is known of this chat: nothing was sent to it or set for it."
        )
    now = request.state.clock.time()
    settings = ChatSettings.model_validate_json(row["settings"] or "{}")
    hours = quiet.read(row["settings"]) if row["settings"] else None
    muted_until = row["muted_until"]
    return ChatView(
        chat_id=chat_id,
        bot=bot,
        name=settings.name,
        time_zone=settings.time_zone,
        quiet_hours=settings.quiet_hours,
        quiet_until=_time(hours.until(now) if hours else None),
        muted_until=_time(muted_until if muted_until and muted_until > now else None),
        blocked=row["blocked"],
        migrated_to=row["migrated_to"],
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)
