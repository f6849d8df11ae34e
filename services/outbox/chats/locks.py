"""Locks of chats, in one order: transactions lock chats before their messages, the lowest chat first.

A claim locks a chat's row while it takes one of the chat's messages. A transaction that ends or changes
waiting messages therefore locks the chats first; otherwise the two deadlock, and PostgreSQL aborts one.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, text

from services.outbox.chats.chat_queue import ChatKey
from services.outbox.schema import chat


def lock_chats(connection: Connection, chats: Iterable[ChatKey]) -> None:
    """Locks the rows of chats until the commit, so that none of them is claimed."""
    for bot, chat_id in sorted(set(chats)):
        connection.execute(_LOCK, {"bot": bot, "chat_id": chat_id})


def lock_or_create_chats(connection: Connection, chats: Iterable[ChatKey]) -> None:
    """As :func:`lock_chats`; creates the rows of chats that have none.

    Two transactions that create rows of the same chats wait for each other as well.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        rows = [{"bot": bot, "chat_id": chat_id} for bot, chat_id in sorted(set(chats))]
        connection.execute(_LOCK_OR_CREATE, rows)


def lock_timed_chats(connection: Connection, now: float) -> None:
    """As :func:`lock_chats`, for every chat that is leased or has a time after now."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(_LOCK_TIMED, {"now": now})


_LOCK = (
    select(chat.c.bot)
    .where(chat.c.bot == bindparam("bot"), chat.c.chat_id == bindparam("chat_id"))
    .with_for_update()
)
_LOCK_OR_CREATE = text("""
INSERT INTO chat (bot, chat_id, lane, lease_until, tokens, group_tokens, sent_at, open_at)
VALUES (:bot, :chat_id, 1, 0, 0, 0, 0, 0)
ON CONFLICT (bot, chat_id) DO UPDATE SET bot = excluded.bot
""")
# Counted by the database: no row is sent to us, however many there are.
_LOCK_TIMED = text("""
SELECT count(*) FROM (
  SELECT FROM chat WHERE next_at > :now OR open_at > :now OR owner IS NOT NULL
  ORDER BY bot, chat_id FOR UPDATE
) AS locked
""")
