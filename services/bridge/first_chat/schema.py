"""The table of the first chat: one row, once a bridge without TELEGRAM_CHAT_IDS has started."""

from sqlalchemy import BigInteger, Column, Double, Integer, String, Table

from services.outbox.schema import metadata

first_chat = Table(
    "first_chat",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("code", String(32), nullable=False),
    # Null until a person has written the code.
    Column("chat_id", BigInteger),
    Column("user_id", BigInteger),
    Column("chosen_at", Double),
)
