"""Chats over REST: a name, a time zone, quiet hours."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from sqlalchemy import Connection, select

from services.bridge.bots import DEFAULT
from services.bridge.chats import quiet
from services.bridge.state import BridgeState, State
from services.contracts.chats import ChatSettings, ChatView
from services.contracts.fields import BotName
from services.kit.clock import rfc3339
from services.kit.database.connect import upsert
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems
from services.outbox.chats import chat_state
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.schema import chat

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

ChatId = Annotated[int, Path(ge=-(2**53), le=2**53, description="Telegram's id of the chat", examples=[1001])]
BotOf = Annotated[BotName, Query(description="each bot has its own view of a chat", examples=[DEFAULT])]


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
