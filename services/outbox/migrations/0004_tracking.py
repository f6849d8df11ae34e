"""Every change of a state in the order of the commits; replays; searching a million messages."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "feed",
        sa.Column("id", serial, autoincrement=True, nullable=False),
        sa.Column(
            "tx",
            sa.BigInteger(),
            server_default=sa.text("(pg_current_xact_id()::text::bigint)" if postgresql else "0"),
            nullable=False,
        ),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("changes", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("feed_order", "feed", ["tx", "id"], unique=False)
    op.create_index("feed_at", "feed", ["at"], unique=False)
    op.add_column("event", sa.Column("written_at", sa.Double(), nullable=True))
    op.add_column("event", sa.Column("callback_url", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("replayed_at", sa.Double(), nullable=True))
    op.add_column("message", sa.Column("type", sa.String(length=64), server_default="", nullable=False))
    op.execute("UPDATE message SET type = (SELECT type FROM event WHERE event.id = message.event_id)")
    op.create_index("message_type", "message", ["type", "seq"], unique=False)
    op.create_index("message_chat", "message", ["chat_id", "seq"], unique=False)
    op.create_index("message_accepted", "message", ["accepted_at"], unique=False)
    op.create_index(
        "message_replayed",
        "message",
        ["replayed_at"],
        unique=False,
        sqlite_where=sa.text("replayed_at IS NOT NULL AND finished_at IS NULL"),
        postgresql_where=sa.text("replayed_at IS NOT NULL AND finished_at IS NULL"),
    )
