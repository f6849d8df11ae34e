"""The time that a scheduled or deferred message was to wait for: until then it is not late."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("message", sa.Column("waits_from", sa.Double(), nullable=True))
    op.execute("UPDATE message SET waits_from = due_at WHERE state = 'queued' AND due_at > 0")
    condition = sa.text("waits_from IS NOT NULL AND finished_at IS NULL")
    op.create_index(
        "message_waits_from",
        "message",
        ["waits_from"],
        unique=False,
        sqlite_where=condition,
        postgresql_where=condition,
    )
