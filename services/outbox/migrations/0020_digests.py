"""Digests: messages with one key that are sent as one message."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    op.create_table(
        "digest",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("bot", sa.Text(), nullable=False),
        sa.Column("chat_id", sa.BigInteger(), nullable=False),
        sa.Column("thread_id", sa.BigInteger()),
        sa.Column("opened_at", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("phase", sa.String(12), nullable=False),
        sa.Column("message_id", sa.String(36)),
    )
    op.create_index("digest_key", "digest", ["client", "key", "bot", "chat_id", "until"])
    op.create_index("digest_phase", "digest", ["phase", "until"])
    op.create_index("ix_digest_message_id", "digest", ["message_id"])
    op.create_table(
        "digest_member",
        sa.Column("message_id", sa.String(36), primary_key=True),
        sa.Column("digest_id", sa.String(36), nullable=False),
    )
    op.create_index("ix_digest_member_digest_id", "digest_member", ["digest_id"])
