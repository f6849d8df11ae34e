"""The responses of people. Times: seconds since the epoch, UTC."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, String, Table, Text

from services.outbox.schema import metadata

response = Table(
    "response",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("at", Double, nullable=False, index=True),
    Column("kind", String(8), nullable=False),
    Column("bot", Text, nullable=False),
    Column("chat_id", BigInteger),
    Column("thread_id", BigInteger),
    Column("user_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("username", Text),
    Column("text", Text, nullable=False),
    Column("telegram_message_id", BigInteger),
    # What the response answers, if that is known.
    Column("message_id", String(36)),
    Column("event_id", String(36)),
    Column("correlation_id", Text),
    Column("approval_id", String(36)),
    Column("outcome", String(16)),
    Column("traceparent", String(55), nullable=False),
    # The file that the person sent, if any; it stays with Telegram.
    Column("file_kind", String(16)),
    Column("telegram_file_id", Text),
    Column("file_size", BigInteger),
    Column("file_type", Text),
    Column("file_name", Text),
    Column("file_width", Integer),
    Column("file_height", Integer),
    Column("file_seconds", Integer),
    Index("response_correlation", "correlation_id"),
)
