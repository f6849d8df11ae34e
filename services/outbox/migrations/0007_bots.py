"""The messages of a bot that is not the default one, found at once."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_index(
        "message_bot",
        "message",
        ["bot", "seq"],
        unique=False,
        sqlite_where=sa.text("bot <> 'default'"),
        postgresql_where=sa.text("bot <> 'default'"),
    )
