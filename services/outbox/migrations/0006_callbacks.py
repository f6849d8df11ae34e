"""Whether any event wants to be told of, found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_index(
        "event_callback",
        "event",
        ["id"],
        unique=False,
        sqlite_where=sa.text("callback_url IS NOT NULL"),
        postgresql_where=sa.text("callback_url IS NOT NULL"),
    )
