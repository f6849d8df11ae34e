"""Chats over REST: a name, a time zone, quiet hours."""

from functools import partial
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from sqlalchemy import Connection, select

from services.bridge.bots import DEFAULT
from services.bridge.chats import quiet
from services.bridge.chats.quiet import Day
from services.bridge.state import BridgeState, State
from services.contracts.fields import A_TIME, BotName, Strict, about
from services.kit.clock import rfc3339
from services.kit.database.connect import upsert
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems
from services.outbox.chats import chat_state
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.schema import chat

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

ClockTime = Annotated[str, StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
ChatId = Annotated[int, Path(ge=-(2**53), le=2**53, description="Telegram's id of the chat", examples=[1001])]
BotOf = Annotated[BotName, Query(description="each bot has its own view of a chat", examples=[DEFAULT])]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):  # unknown, no name at all, or the name of a folder
        raise ValueError("this is no IANA time zone, such as Europe/Berlin") from None
    return name


class QuietHours(Strict):
    """The quiet hours of a chat."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    start: Annotated[
        ClockTime, Field(alias="from", description="local time at which they begin", examples=["22:00"])
    ]
    end: Annotated[
        ClockTime, Field(alias="to", description="not after `from`: on the next day", examples=["07:00"])
    ]
    days: Annotated[
        Annotated[list[Day], Field(min_length=1, max_length=7)],
        about("days on which they begin", ["mon", "tue", "wed", "thu", "fri"]),
    ] = Field(list(quiet.DAYS))
    action: Annotated[
        Literal["delay", "silent"],
        about("messages wait for the end, or go silently; urgent and critical ones always go", "delay"),
    ] = "delay"

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same time")
        return self


class ChatSettings(Strict):
    """The settings of a chat."""

    name: Annotated[
        Annotated[str, StringConstraints(max_length=128)], about("name of the chat, for operators", "Ada")
    ] = ""
    time_zone: Annotated[
        Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(_zone)],
        about("IANA time zone", "Europe/Berlin"),
    ] = "UTC"
    quiet_hours: Annotated[QuietHours | None, about("quiet hours; unset: none")] = None


class ChatView(BaseModel):
    """The settings and the state of a chat."""

    chat_id: Annotated[int, about("Telegram's ID of the chat", 1001)]
    bot: Annotated[str, about("the bot that this is about", "default")]
    name: Annotated[str, about("name of the chat", "Ada")]
    time_zone: Annotated[str, about("IANA time zone", "Europe/Berlin")]
    quiet_hours: Annotated[QuietHours | None, about("quiet hours; null: none")]
    quiet_until: Annotated[
        str | None, about("end of the current quiet hours; null: it is not quiet now", A_TIME)
    ]
    muted_until: Annotated[str | None, about("end of the mute by /mute; null: not muted", A_TIME)]
    blocked: Annotated[str | None, about("why the chat refuses the bot; null: it does not", "bot_blocked")]
    migrated_to: Annotated[int | None, about("ID of the supergroup that the group became", -1001234567890)]


@router.get(
    "/{chat_id}",
    summary="Read the settings and the state of a chat",
    responses=problems({404: "the chat is unknown"}),
)
async def read(state: State, chat_id: ChatId, bot: BotOf = DEFAULT) -> ChatView:
    """A chat is known once a message was accepted for it or its settings were set."""
    return await _view(state, chat_id, bot)


@router.put("/{chat_id}", summary="Set the settings of a chat; omitted fields get their default")
async def put(state: State, chat_id: ChatId, wanted: ChatSettings, bot: BotOf = DEFAULT) -> ChatView:
    """Messages that wait for the end of earlier quiet hours are released for a new decision."""
    if bot not in state.bots:
        there = ", ".join(state.bots)
        raise invalid_input([{"loc": ["query", "bot"], "msg": f"no bot has this name; there are {there}"}])
    work = partial(
        store_settings,
        bot=bot,
        chat_id=chat_id,
        settings=wanted.model_dump_json(by_alias=True),
        now=state.clock.time(),
    )
    await state.outbox.database.write("chat_write", work, notify=CHANNEL)
    return await _view(state, chat_id, bot)


async def _view(state: BridgeState, chat_id: int, bot: str) -> ChatView:
    row: Any = await state.outbox.database.read("chat", partial(_row, bot=bot, chat_id=chat_id))
    if row is None:
        raise Problem(
            404, "Not Found", "This chat is unknown: no message was accepted for it, and nothing was set."
        )
    now = state.clock.time()
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


def _row(connection: Connection, bot: str, chat_id: int) -> Any | None:
    """The engine's row of a chat, or None."""
    query = select(chat).where(chat.c.bot == bot, chat.c.chat_id == chat_id)
    return connection.execute(query).mappings().first()


def store_settings(connection: Connection, bot: str, chat_id: int, settings: str, now: float) -> None:
    """Stores a chat's settings; messages that the earlier ones deferred are released for a new decision."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, settings=settings)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"settings": settings}
        )
    )
    chat_state.end_deferral(connection, bot, chat_id, now)
