"""Reminders of open questions, and their escalation to other people."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "approval_reminder",
        sa.Column("approval_id", sa.String(36), primary_key=True),
        sa.Column("remind_every", sa.Double(), nullable=False),
        sa.Column("remind_left", sa.Integer(), nullable=False),
        sa.Column("remind_at", sa.Double(), nullable=True),
        sa.Column("escalate_at", sa.Double(), nullable=True),
        sa.Column("escalate_to", sa.Text(), nullable=False),
    )
    for name in ("remind_at", "escalate_at"):
        waits = sa.text(f"{name} IS NOT NULL")
        op.create_index(
            f"approval_{name}", "approval_reminder", [name], sqlite_where=waits, postgresql_where=waits
        )
