"""Restores of the database from a backup are logged in it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.create_table(
        "restore_log",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("backup_at", sa.Double(), nullable=False),
        sa.Column("restored_at", sa.Double(), nullable=False),
        sa.Column("unsent", sa.String(length=8), nullable=False),
        sa.Column("held", sa.Integer(), nullable=False),
        sa.Column("marked", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
