"""Modes: how the bot confirms what people write in a chat, stored for each chat."""

from sqlalchemy import BigInteger, Column, Connection, String, Table, Text, select

from services.bridge.commands.commands import ChatMode
from services.kit.database.connect import upsert
from services.outbox.schema import metadata

chat_mode = Table(
    "chat_mode",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("chat_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mode", String(8), nullable=False),
)


def mode_of(connection: Connection, bot: str, chat_id: int) -> ChatMode:
    """The mode of a chat; local if none was set."""
    query = select(chat_mode.c.mode).where(chat_mode.c.bot == bot, chat_mode.c.chat_id == chat_id)
    found = connection.execute(query).scalar()
    return ChatMode(found) if found else ChatMode.LOCAL


def set_mode(connection: Connection, bot: str, chat_id: int, mode: ChatMode) -> None:
    """Stores the mode of a chat."""
    statement = upsert(connection, chat_mode).values(bot=bot, chat_id=chat_id, mode=mode.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat_mode.c.bot, chat_mode.c.chat_id], set_={"mode": mode.value}
        )
    )
