"""Repeats of an event, which are counted at the first one instead of stored."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.create_table(
        "repeats",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("topics", sa.String(64), nullable=False),
        sa.Column("first_at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("repeats", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.Double(), nullable=False),
        sa.Column("edit_at", sa.Double(), nullable=True),
        sa.Column("edited_at", sa.Double(), nullable=False),
    )
    op.create_index("repeats_key", "repeats", ["client", "key", "topics", "until"])
    op.create_index("repeats_last", "repeats", ["last_at"])
    waits = sa.text("edit_at IS NOT NULL")
    op.create_index("repeats_edit", "repeats", ["edit_at"], sqlite_where=waits, postgresql_where=waits)
