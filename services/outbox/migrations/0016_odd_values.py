"""Mends values of answers that were not checked: ids of chats that are none, and waits of thousands of years.

A group that "became" a chat of no usable id gets its messages back. A wait of more than a day ends now.
"""

import time

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_DAY = 86_400.0


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _return_messages()
    # Chats that lead to themselves or to each other would pass their messages to and fro without end.
    op.execute("""
        UPDATE chat SET migrated_to = NULL
        WHERE migrated_to >= 0 OR migrated_to = chat_id OR EXISTS (
          SELECT 1 FROM chat AS other
          WHERE other.bot = chat.bot AND other.chat_id = chat.migrated_to AND other.migrated_to = chat.chat_id
        )
    """)
    times = {"now": time.time(), "latest": time.time() + _DAY}
    for statement in (_END_WAITS, _OPEN_CHATS):
        op.execute(sa.text(statement).bindparams(**times))
    op.execute(sa.text("UPDATE attempt SET retry_after = :day WHERE retry_after > :day").bindparams(day=_DAY))


_END_WAITS = """
    UPDATE message SET due_at = :now
    WHERE state = 'retry_wait' AND reason = 'flood_control' AND due_at > :latest
"""
_OPEN_CHATS = """
    UPDATE chat SET open_at = :now, next_at = CASE WHEN next_at IS NULL THEN NULL ELSE :now END
    WHERE open_at > :latest
"""


def _return_messages() -> None:
    """Only SQLite stores a text as a chat's id."""
    op.execute("""
        UPDATE chat SET next_at = 1 WHERE owner IS NULL AND EXISTS (
          SELECT 1 FROM message
          WHERE message.bot = chat.bot AND message.chat_id = chat.migrated_to
            AND typeof(message.chat_id) <> 'integer' AND message.state IN ('queued', 'retry_wait')
        )
    """)
    op.execute("""
        UPDATE message SET chat_id = coalesce((
          SELECT chat.chat_id FROM chat
          WHERE chat.bot = message.bot AND chat.migrated_to = message.chat_id
            AND typeof(chat.chat_id) = 'integer'
        ), 0)
        WHERE typeof(chat_id) <> 'integer'
    """)
    op.execute("""
        UPDATE message SET state = 'dead_letter', reason = 'bad_answer', finished_at = accepted_at
        WHERE chat_id = 0 AND state IN ('queued', 'retry_wait')
    """)
    op.execute("DELETE FROM chat WHERE typeof(chat_id) <> 'integer'")
    op.execute("UPDATE chat SET migrated_to = NULL WHERE typeof(migrated_to) NOT IN ('integer', 'null')")
