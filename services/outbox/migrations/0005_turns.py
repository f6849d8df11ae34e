"""Whose turn a chat's turn is, how its people want it, and what may happen once only."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("chat", sa.Column("client", sa.Text(), server_default="", nullable=False))
    op.add_column("chat", sa.Column("settings", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.drop_index("chat_ready", "chat")
    op.create_index(
        "chat_ready",
        "chat",
        ["bot", "lane", "client", "next_at"],
        unique=False,
        sqlite_where=sa.text("next_at IS NOT NULL"),
        postgresql_where=sa.text("next_at IS NOT NULL"),
    )
    op.create_table(
        "once",
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("scope", "name"),
    )
    op.create_index("once_at", "once", ["at"], unique=False)
