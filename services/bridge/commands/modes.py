"""How a chat wants to be spoken to, in the database."""

from sqlalchemy import Connection, select

from services.bridge.commands.commands import Mode
from services.bridge.commands.schema import chat_mode
from services.kit.database.connect import upsert
from services.outbox.chats import chat_state


def mode_of(connection: Connection, bot: str, chat_id: int) -> Mode:
    query = select(chat_mode.c.mode).where(chat_mode.c.bot == bot, chat_mode.c.chat_id == chat_id)
    found = connection.execute(query).scalar()
    return Mode(found) if found else Mode.LOCAL


def set_mode(connection: Connection, bot: str, chat_id: int, mode: Mode) -> None:
    statement = upsert(connection, chat_mode).values(bot=bot, chat_id=chat_id, mode=mode.value)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[chat_mode.c.bot, chat_mode.c.chat_id], set_={"mode": mode.value}
        )
    )


def muted_until(connection: Connection, bot: str, chat_id: int, now: float) -> float | None:
    return chat_state.muted_until(connection, bot, chat_id, now)


def set_mute(connection: Connection, bot: str, chat_id: int, until: float | None) -> None:
    chat_state.mute(connection, bot, chat_id, until)
