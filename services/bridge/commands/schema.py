"""How each chat wants to be spoken to. A mute is in the engine's row of the chat."""

from sqlalchemy import BigInteger, Column, String, Table, Text

from services.outbox.schema import metadata

chat_mode = Table(
    "chat_mode",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("chat_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mode", String(8), nullable=False),
)
