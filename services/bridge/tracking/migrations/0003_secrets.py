"""While a callback's secret is changed, the one before signs as well."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("callback") as table:
        table.add_column(sa.Column("previous", sa.Text(), nullable=False, server_default=""))
        table.add_column(sa.Column("previous_until", sa.Double(), nullable=False, server_default="0"))
