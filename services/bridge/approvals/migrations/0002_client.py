"""Who asked; and what is old is found by when it was closed."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("approval") as table:
        table.add_column(sa.Column("client", sa.Text(), nullable=False, server_default=""))
    op.create_index("approval_closed", "approval", ["closed_at"], unique=False)
    op.create_index("approval_client", "approval", ["client", "seq"], unique=False)
