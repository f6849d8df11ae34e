"""A later message with the same key edits the earlier one."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("message", sa.Column("update_key", sa.Text(), nullable=True))
    op.create_index(
        "message_update_key",
        "message",
        ["bot", "chat_id", "update_key", "seq"],
        unique=False,
        sqlite_where=sa.text("update_key IS NOT NULL"),
        postgresql_where=sa.text("update_key IS NOT NULL"),
    )
