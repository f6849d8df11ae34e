"""The tables of files. A file's chunks and the events that name it are swept together (``store.sweep``)."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    Text,
)

from services.outbox.schema import metadata

file = Table(
    "file",
    metadata,
    Column("id", String(36), primary_key=True),
    # SHA-256 of the content, hexadecimal; null until the last byte is stored.
    Column("sha256", String(64)),
    Column("size", BigInteger, nullable=False),
    Column("media_type", String(64), nullable=False),
    # Pixels of an image; null: it is none, or none whose size is known.
    Column("width", Integer),
    Column("height", Integer),
    Column("created_at", Double, nullable=False),
    # When it was uploaded, or named by an event, last.
    Column("touched_at", Double, nullable=False, index=True),
)
Index(
    "file_content",
    file.c.sha256,
    file.c.size,
    unique=True,
    sqlite_where=file.c.sha256.is_not(None),
    postgresql_where=file.c.sha256.is_not(None),
)

file_chunk = Table(
    "file_chunk",
    metadata,
    Column("file_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

event_file = Table(
    "event_file",
    metadata,
    Column("event_id", String(36), primary_key=True),
    Column("position", SmallInteger, primary_key=True, autoincrement=False),
    # Null while it is not fetched yet, and where it could not be.
    Column("file_id", String(36), index=True),
    # Where it is fetched from; null: it was uploaded.
    Column("url", Text),
    # A value of services.outbox.messages.MediaKind.
    Column("kind", String(12), nullable=False),
    Column("filename", Text, nullable=False),
    Column("caption", Text, nullable=False),
    Column("spoiler", Boolean, nullable=False),
    # Why it could not be fetched; null: it could, or was not tried yet.
    Column("failure", Text),
)
