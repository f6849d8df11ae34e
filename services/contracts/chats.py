"""Settings of chats as clients set them, and chats as the bridge returns them."""

from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal, Self, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from services.contracts.fields import (
    A_TIME,
    LONGEST_CHAT_NAME,
    NUMBER_OF_CHAT,
    Strict,
    about,
    is_blank,
    plain_name,
    storable,
)
from services.kit.field_errors import ErrorText

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
ClockTime = Annotated[
    str,
    StringConstraints(pattern=r"^([01]\d|2[0-3]):[0-5]\d$"),
    ErrorText("write a time of day such as 07:30"),
]


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    """The names of the IANA database, without its placeholder for a machine whose zone is not set."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()) - {"Factory"}


def _zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("this is no IANA time zone, such as Europe/Berlin")
    return name


def _name(text: str) -> str:
    """Refuses a name that `chat_id` would not find, since it is read as an ID or a username there."""
    name = text.strip()
    read = plain_name(name)
    if read.startswith("@") or NUMBER_OF_CHAT.fullmatch(read):
        raise ValueError("a name is no number, and does not begin with @")
    if name and is_blank(read):
        raise ValueError("it has no visible character; leave it empty for no name")
    return name


ChatName = Annotated[str, storable(LONGEST_CHAT_NAME), AfterValidator(_name)]
TimeZone = Annotated[str, storable(64, 1), AfterValidator(_zone)]


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
    ] = Field(list(DAYS))
    action: Annotated[
        Literal["delay", "silent"],
        about("messages wait for the end, or go silently; urgent and critical ones always go", "delay"),
    ] = "delay"

    @model_validator(mode="after")
    def _some_time(self) -> Self:
        if self.start == self.end:
            raise ValueError("from and to are the same time")
        return self


class BotView(BaseModel):
    """A bot as the bridge uses it."""

    name: Annotated[str, about("name of the bot", "default")]
    chat_ids: Annotated[
        list[int], about("chats that get an event which names none; empty: none is chosen yet", [1001])
    ]
    people: Annotated[int, about("number of people who may answer questions and use commands", 1)]


class Bots(BaseModel):
    """All bots, the default one first."""

    items: Annotated[list[BotView], about("the bots")]


class ChatSettings(Strict):
    """The settings of a chat."""

    name: Annotated[ChatName, about("name of the chat, which `chat_id` of events takes too", "Ada")] = ""
    time_zone: Annotated[
        TimeZone, about("IANA time zone, in which the chat shows times", "Europe/Berlin")
    ] = "UTC"
    quiet_hours: Annotated[QuietHours | None, about("quiet hours; unset: none")] = None


class ChatChanges(Strict):
    """Changes of a chat's settings: omitted fields stay as they are, null sets the default."""

    name: Annotated[
        ChatName | None, about("name of the chat, which `chat_id` of events takes too; null: none", "Ada")
    ] = None
    time_zone: Annotated[
        TimeZone | None, about("IANA time zone, in which the chat shows times; null: UTC", "Europe/Berlin")
    ] = None
    quiet_hours: Annotated[QuietHours | None, about("quiet hours, replaced as a whole; null: none")] = None


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
    migrated_to: Annotated[
        int | None,
        about("ID of the supergroup that the group became, which has the other fields", -1001234567890),
    ]


class Chats(BaseModel):
    """A page of chats, by their ids."""

    items: Annotated[list[ChatView], about("at most `limit` chats")]
    next_cursor: Annotated[
        str | None, about("pass it as `cursor` for the next page; null on the last one", "1001")
    ]
