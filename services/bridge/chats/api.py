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
from services.contracts.fields import A_TIME, BotName, Strict, about
from services.kit.clock import rfc3339
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems
from services.outbox.engine import Outbox
from services.outbox.intake.enqueue import CHANNEL

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ChatId = Annotated[int, Path(ge=-(2**53), le=2**53, description="Telegram's id of the chat", examples=[1001])]
BotOf = Annotated[BotName, Query(description="each bot has its own view of a chat", examples=[DEFAULT])]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # unknown, no name at all, or the name of a folder
        raise ValueError("no time zone of this name, such as Europe/Berlin, is known") from None
    return name


class QuietHours(Strict):
    """When a chat wants no sound."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Annotated[
        ClockTime, Field(alias="from", description="on the wall clock there", examples=["22:00"])
    ]
    end: Annotated[
        ClockTime, Field(alias="to", description="not after `from`: on the next day", examples=["07:00"])
    ]
    days: Annotated[
        Annotated[list[Day], Field(min_length=1, max_length=7)],
        about("on which they begin", ["mon", "tue", "wed", "thu", "fri"]),
    ] = Field(list(quiet.DAYS))
    action: Annotated[
        Literal["delay", "silent"],
        about("wait for the end, or go without a sound; what is urgent or critical goes as ever", "delay"),
    ] = "delay"

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same time")
        return self


class ChatSettings(Strict):
    """How a chat's people want it."""

    name: Annotated[
        Annotated[str, StringConstraints(max_length=128)], about("for those who set it", "Ada")
    ] = ""
    time_zone: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)],
        about("where they are: an IANA name", "Europe/Berlin"),
    ] = "UTC"
    quiet_hours: Annotated[QuietHours | None, about("unset: there are none")] = None


class ChatView(BaseModel):
    """A chat: how its people want it, and how it stands."""

    chat_id: Annotated[int, about("Telegram's id", 1001)]
    bot: Annotated[str, about("whose view this is", "default")]
    name: Annotated[str, about("as it was set", "Ada")]
    time_zone: Annotated[str, about("where its people are", "Europe/Berlin")]
    quiet_hours: Annotated[QuietHours | None, about("null: there are none")]
    quiet_until: Annotated[
        str | None, about("end of the quiet hours that it is now; null: it is not quiet", A_TIME)
    ]
    muted_until: Annotated[str | None, about("by /mute; null: it is not muted", A_TIME)]
    blocked: Annotated[str | None, about("why the chat refuses the bot", "bot_blocked")]
    migrated_to: Annotated[int | None, about("id of the supergroup that the group became", -1001234567890)]


@router.get(
    "/{chat_id}",
    summary="A chat: how its people want it, and how it stands",
    responses=problems({404: "nothing is known of this chat"}),
)
async def read(request: Request, chat_id: ChatId, bot: BotOf = DEFAULT) -> ChatView:
    """Known are those that something was sent to, or set for."""
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
    await outbox.database.write("chat_write", work, notify=CHANNEL)
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
