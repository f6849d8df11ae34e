"""An open question that reaches nobody."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("approval", sa.Column("undelivered_at", sa.Double(), nullable=True))
