"""Track which truncated webhooks were completed, and index what the retention deletes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

asks = "truncated > 0 AND asked_at IS NULL"


def upgrade() -> None:
    op.add_column("webhook", sa.Column("asked_at", sa.Double()))
    # Webhooks from before this version are not completed any more.
    op.execute(sa.text("UPDATE webhook SET asked_at = received_at"))
    op.create_index(
        "webhook_left_out",
        "webhook",
        ["cluster", "group_key"],
        sqlite_where=sa.text(asks),
        postgresql_where=sa.text(asks),
    )
    op.create_index("webhook_heard", "webhook", ["last_received_at"])
    op.create_index("incident_resolved", "incident", ["resolved_at"])
