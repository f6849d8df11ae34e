"""Calls have their turn by whom they go to; endpoints that fail are remembered, and disabled in the end."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("webhook_call") as table:
        table.add_column(sa.Column("origin", sa.Text(), nullable=False, server_default=""))
    op.drop_index("webhook_call_due", "webhook_call")
    op.create_index(
        "webhook_call_due",
        "webhook_call",
        ["origin", "due_at"],
        unique=False,
        sqlite_where=sa.text("state = 'waiting'"),
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.create_table(
        "webhook_endpoint",
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("failing_since", sa.Double(), nullable=False),
        sa.Column("tried_at", sa.Double(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=False),
        sa.Column("disabled_at", sa.Double(), nullable=True),
        sa.Column("probe_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("url"),
    )
    op.create_index("ix_webhook_endpoint_tried_at", "webhook_endpoint", ["tried_at"], unique=False)
