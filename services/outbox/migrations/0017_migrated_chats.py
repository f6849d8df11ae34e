"""Indexes the groups that became supergroups by both ids, whichever bot is in them."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    migrated = sa.text("migrated_to IS NOT NULL")
    for name, column in (("chat_migrated", "chat_id"), ("chat_migrated_to", "migrated_to")):
        op.create_index(name, "chat", [column], sqlite_where=migrated, postgresql_where=migrated)
