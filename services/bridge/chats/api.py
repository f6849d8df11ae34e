"""Chats over REST: a name, a time zone, quiet hours."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel
from sqlalchemy import Connection, select

from services.bridge.bots import DEFAULT
from services.bridge.chats import quiet, stored
from services.bridge.chats.names import NamedChat
from services.bridge.state import BridgeState, State
from services.contracts.chats import ChatChanges, Chats, ChatSettings, ChatView
from services.contracts.fields import LARGEST_INT, BotName, ChatReference, about
from services.contracts.stored import from_row, number_of
from services.kit.clock import rfc3339
from services.kit.database.connect import upsert
from services.kit.errors import Problem, invalid_input
from services.kit.web.openapi import problems
from services.outbox.chats import chat_state
from services.outbox.intake.enqueue import CHANNEL
from services.outbox.schema import chat

router = APIRouter(prefix="/api/v1/chats", tags=["chats"])

BotOf = Annotated[BotName, Query(description="each bot has its own view of a chat", examples=[DEFAULT])]


async def _chat_id(
    state: State,
    chat_id: Annotated[
        ChatReference, Path(description="the chat's id, @username, or name", examples=[1001, "Operations"])
    ],
    bot: BotOf = DEFAULT,
) -> int:
    """The id of the chat in the path.

    Raises:
        Problem: 422, no chat has the name, or no bot has the other one; 503, Telegram was not reached.
    """
    if isinstance(chat_id, int):
        return chat_id
    _check_bot(state, bot)
    named = NamedChat(bot, chat_id)
    found = (await state.chats.find([named]))[named]
    if isinstance(found, str):
        raise invalid_input([{"loc": ["path", "chat_id"], "msg": found}])
    return found


ChatId = Annotated[int, Depends(_chat_id)]


class ChatFilter(BaseModel, extra="forbid"):
    """Which chats to list."""

    bot: Annotated[BotName, about("the bot whose chats are listed", DEFAULT)] = DEFAULT
    cursor: Annotated[
        int | None, Query(ge=-LARGEST_INT, le=LARGEST_INT), about("`next_cursor` of the previous page", 1001)
    ] = None
    limit: Annotated[int, Query(ge=1, le=500), about("largest number of chats", 50)] = 50


@router.get("", summary="List chats with their settings and state, by their ids")
async def listed(state: State, wanted: Annotated[ChatFilter, Query()]) -> Chats:
    """Chats for which a message was accepted, and those with settings."""
    found = await state.outbox.database.read("chat", partial(_page, wanted=wanted))
    now = state.clock.time()
    return Chats(
        items=[_shown(one, now) for one in found],
        next_cursor=str(found[-1].chat_id) if len(found) == wanted.limit else None,
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """A chat, by the id in the request.

    Args:
        chat_id: that id.
        current: the id of the supergroup that the group became; for any other chat the same id.
        row: of the current id, or of the given one while there is none.
    """

    chat_id: int
    current: int
    row: Any


def _page(connection: Connection, wanted: ChatFilter) -> list[_Known]:
    query = select(chat).where(chat.c.bot == wanted.bot).order_by(chat.c.chat_id).limit(wanted.limit)
    if wanted.cursor is not None:
        query = query.where(chat.c.chat_id > wanted.cursor)
    rows = connection.execute(query).mappings().all()
    return [
        _Known(row["chat_id"], row["chat_id"], row)
        if row["migrated_to"] is None
        else _find(connection, wanted.bot, row["chat_id"]) or _Known(row["chat_id"], row["chat_id"], row)
        for row in rows
    ]


def _find(connection: Connection, bot: str, chat_id: int) -> _Known | None:
    """The chat; None: it is unknown."""
    current = chat_state.current_id(connection, bot, chat_id)
    query = select(chat).where(chat.c.bot == bot, chat.c.chat_id.in_((chat_id, current)))
    rows = {row["chat_id"]: row for row in connection.execute(query).mappings()}
    row = rows.get(current, rows.get(chat_id))
    return None if row is None else _Known(chat_id, current, row)


@router.get(
    "/{chat_id}",
    summary="Read the settings and the state of a chat",
    responses=problems({404: "the chat is unknown"}),
)
async def read(state: State, chat_id: ChatId, bot: BotOf = DEFAULT) -> ChatView:
    """A chat is known once a message was accepted for it or its settings were set.

    A group that became a supergroup has the settings and the state of the supergroup.
    """
    return await _view(state, chat_id, bot)


@router.put("/{chat_id}", summary="Replace the settings of a chat; omitted fields get their default")
async def put(state: State, chat_id: ChatId, wanted: ChatSettings, bot: BotOf = DEFAULT) -> ChatView:
    """Messages that wait for the end of earlier quiet hours are released for a new decision.

    For a group that became a supergroup, the settings of the supergroup are replaced.
    """
    _check_bot(state, bot)
    work = partial(
        store_settings,
        bot=bot,
        chat_id=chat_id,
        settings=wanted.model_dump_json(by_alias=True),
        now=state.clock.time(),
    )
    await state.outbox.database.write("chat_write", work, notify=CHANNEL)
    return await _view(state, chat_id, bot)


@router.patch("/{chat_id}", summary="Change settings of a chat; omitted fields stay as they are")
async def patch(state: State, chat_id: ChatId, changes: ChatChanges, bot: BotOf = DEFAULT) -> ChatView:
    """Null sets a field to its default. Messages are released, and supergroups found, as by `PUT`."""
    _check_bot(state, bot)
    work = partial(_change, bot=bot, chat_id=chat_id, changes=changes, now=state.clock.time())
    await state.outbox.database.write("chat_write", work, notify=CHANNEL)
    return await _view(state, chat_id, bot)


def _change(connection: Connection, bot: str, chat_id: int, changes: ChatChanges, now: float) -> None:
    chat_state.lock_current(connection, bot, chat_id)
    found = _find(connection, bot, chat_id)
    settings = stored.changed(found.row["settings"] if found else None, changes)
    store_settings(connection, bot, chat_id, settings, now)


def _check_bot(state: BridgeState, bot: str) -> None:
    if bot not in state.bots:
        there = ", ".join(state.bots)
        raise invalid_input([{"loc": ["query", "bot"], "msg": f"no bot has this name; there are {there}"}])


async def _view(state: BridgeState, chat_id: int, bot: str) -> ChatView:
    found = await state.outbox.database.read("chat", partial(_find, bot=bot, chat_id=chat_id))
    if found is None:
        raise Problem(
            404, "Not Found", "This chat is unknown: no message was accepted for it, and nothing was set."
        )
    return _shown(found, state.clock.time())


def _shown(found: _Known, now: float) -> ChatView:
    row = found.row
    settings = stored.read(row["settings"])
    hours = quiet.read(row["settings"]) if row["settings"] else None
    muted_until = row["muted_until"]
    return from_row(
        ChatView,
        chat_id=found.chat_id,
        bot=row["bot"],
        name=settings.name,
        time_zone=settings.time_zone,
        quiet_hours=settings.quiet_hours,
        quiet_until=_time(hours.until(now) if hours else None),
        muted_until=_time(muted_until if number_of(muted_until) > now else None),
        blocked=row["blocked"],
        migrated_to=None if found.current == found.chat_id else found.current,
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def store_settings(connection: Connection, bot: str, chat_id: int, settings: str, now: float) -> None:
    """Stores a chat's settings; messages that the earlier ones deferred are released for a new decision.

    Args:
        connection: in a transaction.
        bot: that is in the chat.
        chat_id: of the chat; for a group that became a supergroup, its settings are stored.
        settings: JSON.
        now: seconds since the epoch.
    """
    chat_id = chat_state.lock_current(connection, bot, chat_id)
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, settings=settings)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"settings": settings}
        )
    )
    chat_state.end_deferral(connection, bot, chat_id, now)
