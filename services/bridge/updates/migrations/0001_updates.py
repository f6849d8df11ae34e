"""Updates as they came, who receives them, and what people sent."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "telegram_update",
        sa.Column("seq", _serial, autoincrement=True, nullable=False),
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("update_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("chores", sa.Text(), nullable=True),
        sa.Column("handled_at", sa.Double(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("bot", "update_id", name="telegram_update_once"),
    )
    op.create_index(
        "telegram_update_open",
        "telegram_update",
        ["bot", "seq"],
        unique=False,
        sqlite_where=sa.text("state IN ('stored', 'chores')"),
        postgresql_where=sa.text("state IN ('stored', 'chores')"),
    )
    op.create_index("telegram_update_age", "telegram_update", ["received_at"], unique=False)
    op.create_table(
        "telegram_receiver",
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("last_success_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("bot"),
    )
    op.create_table(
        "response",
        sa.Column("seq", _serial, autoincrement=True, nullable=False),
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=True),
        sa.Column("thread_id", sa.BigInteger(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("username", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("telegram_message_id", sa.BigInteger(), nullable=True),
        sa.Column("message_id", sa.String(length=36), nullable=True),
        sa.Column("event_id", sa.String(length=36), nullable=True),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("approval_id", sa.String(length=36), nullable=True),
        sa.Column("outcome", sa.String(length=16), nullable=True),
        sa.Column("traceparent", sa.String(length=55), nullable=False),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("id"),
    )
    op.create_index("ix_response_at", "response", ["at"], unique=False)
    op.create_index("response_correlation", "response", ["correlation_id"], unique=False)
