"""Targets that are no chats of Telegram; a notification may go by several channels."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "target",
        sa.Column(
            "id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True
        ),
        sa.Column("text", sa.Text(), nullable=False, unique=True),
    )
    with op.batch_alter_table("notification") as notification:
        notification.alter_column("channel", type_=sa.Text())
