"""Approvals that need several people."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("approval", sa.Column("needed", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("approval", sa.Column("votes", sa.Text(), nullable=False, server_default="[]"))
