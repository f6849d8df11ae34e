"""The messages that have a time, found at once: they are no backlog. What nothing reads goes."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    timed = sa.text("due_at > 0")
    op.create_index("message_timed", "message", ["due_at"], sqlite_where=timed, postgresql_where=timed)
    op.drop_column("bot", "paused_until")
