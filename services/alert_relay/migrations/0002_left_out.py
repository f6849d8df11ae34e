"""What webhooks leave out is asked for once, and what is old goes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

asks = "truncated > 0 AND asked_at IS NULL"


def upgrade() -> None:
    op.add_column("webhook", sa.Column("asked_at", sa.Double()))
    # Those of before are past: nobody asks for them any more.
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
