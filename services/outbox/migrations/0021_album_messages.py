"""Telegram's ids of an album's further messages, so that a reply to any of them finds the message."""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"

_serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "album_message",
        sa.Column("message_seq", _serial, sa.ForeignKey("message.seq"), primary_key=True),
        sa.Column("telegram_message_id", sa.BigInteger(), primary_key=True, autoincrement=False),
    )
    op.create_index("album_message_telegram", "album_message", ["telegram_message_id"])
