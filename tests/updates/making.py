"""Makes updates as Telegram sends them, and reads what became of the stored ones."""

from typing import Any

from sqlalchemy import Connection, select

from services.kit.database.connect import Database
from services.updates.stored_updates.schema import telegram_update

ADA = 1001


def text(update_id: Any, words: str = "hello", chat_id: int = ADA, sender: int = ADA) -> dict[str, Any]:
    """The update of a text that a person sent; its message has the same number."""
    return {
        "update_id": update_id,
        "message": {
            "message_id": update_id,
            "from": {"id": sender, "is_bot": False, "first_name": "Ada", "username": "ada"},
            "chat": {"id": chat_id, "type": "private"},
            "date": 1,
            "text": words,
        },
    }


async def states(database: Database) -> list[str]:
    """The states of all stored updates, oldest first."""

    def work(connection: Connection) -> list[str]:
        query = select(telegram_update.c.state).order_by(telegram_update.c.seq)
        return list(connection.execute(query).scalars())

    return await database.read("read", work)
