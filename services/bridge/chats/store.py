"""A chat's settings and state on disk: the engine's row of it."""

from typing import Any

from sqlalchemy import Connection, select

from services.kit.database.connect import upsert
from services.outbox.chats import chat_state
from services.outbox.schema import chat


def one(connection: Connection, bot: str, chat_id: int) -> Any | None:
    """The engine's row of a chat, or None."""
    query = select(chat).where(chat.c.bot == bot, chat.c.chat_id == chat_id)
    return connection.execute(query).mappings().first()


def put(connection: Connection, bot: str, chat_id: int, settings: str, now: float) -> None:
    """Keeps a chat's settings; what the former ones hold up is decided anew."""
    statement = upsert(connection, chat).values(bot=bot, chat_id=chat_id, settings=settings)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat.c.bot, chat.c.chat_id], set_={"settings": settings}
        )
    )
    chat_state.let_go(connection, bot, chat_id, now)
