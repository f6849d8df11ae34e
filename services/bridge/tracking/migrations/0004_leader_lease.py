"""One table of leader leases: it takes over the rows of ``chore`` and of ``telegram_receiver``.

The latter is a table of ``services.bridge.updates``, whose revisions run before these.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "leader_lease",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("last_success", sa.Double(), nullable=True),
        sa.Column("position", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    op.execute(
        "INSERT INTO leader_lease (name, owner, lease_until, last_success, position)"
        " SELECT name, owner, lease_until, last_success, position FROM chore"
    )
    op.execute(
        "INSERT INTO leader_lease (name, owner, lease_until, last_success)"
        " SELECT 'updates:' || bot, owner, lease_until, last_success_at FROM telegram_receiver"
    )
    op.drop_table("chore")
    op.drop_table("telegram_receiver")
