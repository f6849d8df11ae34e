"""The order in which transactions take their locks: chats first, lowest first, then their messages.

A claim has a chat's row while it takes one of the chat's waiting messages. Whoever ends or changes
waiting messages takes the rows of their chats before: else the two wait for each other, until
PostgreSQL gives one of them up.
"""

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, text

from services.outbox.schema import chat


def hold(connection: Connection, chats: Iterable[tuple[str, int]]) -> None:
    """Waits until nobody claims for these chats, as (bot, chat); until the commit nobody does."""
    for bot, chat_id in sorted(set(chats)):
        connection.execute(_HOLD, {"bot": bot, "chat_id": chat_id})


def hold_or_make(connection: Connection, chats: Iterable[tuple[str, int]]) -> None:
    """:func:`hold`, also for chats without a row, which come to have one.

    Two transactions that make the rows of new chats wait for each other as well.
    """
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        rows = [{"bot": bot, "chat_id": chat_id} for bot, chat_id in sorted(set(chats))]
        connection.execute(_HOLD_OR_MAKE, rows)


def hold_timed(connection: Connection, now: float) -> None:
    """:func:`hold`, for every chat that has a time ahead of it, or a worker."""
    if connection.dialect.name == "postgresql":  # SQLite has one writer
        connection.execute(_HOLD_TIMED, {"now": now})


_HOLD = (
    select(chat.c.bot)
    .where(chat.c.bot == bindparam("bot"), chat.c.chat_id == bindparam("chat_id"))
    .with_for_update()
)
_HOLD_OR_MAKE = text("""
INSERT INTO chat (bot, chat_id, lane, lease_until, tokens, group_tokens, sent_at, open_at)
VALUES (:bot, :chat_id, 1, 0, 0, 0, 0, 0)
ON CONFLICT (bot, chat_id) DO UPDATE SET bot = excluded.bot
""")
# Counted there: nobody looks at the rows, however many there are.
_HOLD_TIMED = text("""
SELECT count(*) FROM (
  SELECT FROM chat WHERE next_at > :now OR open_at > :now OR owner IS NOT NULL
  ORDER BY bot, chat_id FOR UPDATE
) AS held
""")
