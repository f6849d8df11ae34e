"""Messages that edit an earlier one, messages found by Telegram's id, and chats that are muted."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("message", sa.Column("edits", sa.String(length=36), nullable=True))
    op.add_column("chat", sa.Column("muted_until", sa.Double(), nullable=True))
    op.create_index(
        "attempt_telegram_message",
        "attempt",
        ["telegram_message_id"],
        unique=False,
        sqlite_where=sa.text("telegram_message_id IS NOT NULL"),
        postgresql_where=sa.text("telegram_message_id IS NOT NULL"),
    )
