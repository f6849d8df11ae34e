"""Updates as they came; a database of the bridge has them already, by a revision of its own updates."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    if sa.inspect(op.get_bind()).has_table("telegram_update"):
        return
    op.create_table(
        "telegram_update",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False
        ),
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("update_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("chores", sa.Text(), nullable=True),
        sa.Column("handled_at", sa.Double(), nullable=True),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("bot", "update_id", name="telegram_update_once"),
    )
    op.create_index(
        "telegram_update_open",
        "telegram_update",
        ["bot", "seq"],
        sqlite_where=sa.text("state IN ('stored', 'chores')"),
        postgresql_where=sa.text("state IN ('stored', 'chores')"),
    )
    op.create_index("telegram_update_age", "telegram_update", ["received_at"])
