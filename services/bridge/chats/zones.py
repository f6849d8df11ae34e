"""The time zones of chats, as their settings say."""

from collections.abc import Collection

from sqlalchemy import Connection, select

from services.bridge.chats import stored
from services.bridge.chats.times import DEFAULT_ZONE
from services.outbox.schema import chat


def of_chats(connection: Connection, bot: str, chat_ids: Collection[int]) -> dict[int, str]:
    """The zone of each chat; UTC for one without settings.

    Args:
        connection: for reading.
        bot: that is in the chats.
        chat_ids: of the chats.
    """
    query = select(chat.c.chat_id, chat.c.settings).where(
        chat.c.bot == bot, chat.c.chat_id.in_(chat_ids), chat.c.settings.is_not(None)
    )
    found = {chat_id: stored.read(settings).time_zone for chat_id, settings in connection.execute(query)}
    return {chat_id: found.get(chat_id, DEFAULT_ZONE) for chat_id in chat_ids}


def of_chat(connection: Connection, bot: str, chat_id: int) -> str:
    """The zone of one chat; as of :func:`of_chats`."""
    return of_chats(connection, bot, [chat_id])[chat_id]
