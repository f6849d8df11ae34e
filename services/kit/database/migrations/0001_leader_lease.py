"""The leader leases; a database of the bridge has them already, by a revision of its tracking."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("leader_lease"):
        return
    op.create_table(
        "leader_lease",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("last_success", sa.Double(), nullable=True),
        sa.Column("position", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
