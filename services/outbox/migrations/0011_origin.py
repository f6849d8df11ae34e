"""Adds ``event.origin``: the part of the system that created an event. Before, only its body showed that."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.add_column("event", sa.Column("origin", sa.String(length=8), server_default="client", nullable=False))
    # The bridge stored its own words under this key, which no client's event may have.
    op.execute("""
        UPDATE event SET origin = CASE WHEN type = 'approval_request' THEN 'approval' ELSE 'bot' END
        WHERE substr(body, 1, 8) = '{"said":'
    """)
    op.execute("""
        UPDATE event SET origin = 'alert' WHERE type = 'alert_notification' AND client = 'alertmanager'
    """)
