"""Files, stored in chunks, and the files of events."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.create_table(
        "file",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("sha256", sa.String(64)),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.String(64), nullable=False),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("touched_at", sa.Double(), nullable=False),
    )
    op.create_index("ix_file_touched_at", "file", ["touched_at"])
    whole = sa.text("sha256 IS NOT NULL")
    op.create_index(
        "file_content", "file", ["sha256", "size"], unique=True, sqlite_where=whole, postgresql_where=whole
    )
    op.create_table(
        "file_chunk",
        sa.Column("file_id", sa.String(36), primary_key=True),
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "event_file",
        sa.Column("event_id", sa.String(36), primary_key=True),
        sa.Column("position", sa.SmallInteger(), primary_key=True, autoincrement=False),
        sa.Column("file_id", sa.String(36)),
        sa.Column("url", sa.Text()),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("filename", sa.Text(), nullable=False),
        sa.Column("caption", sa.Text(), nullable=False),
        sa.Column("spoiler", sa.Boolean(), nullable=False),
        sa.Column("failure", sa.Text()),
    )
    op.create_index("ix_event_file_file_id", "event_file", ["file_id"])
    if op.get_bind().dialect.name == "postgresql":
        # Most files are compressed already: another try would only cost time.
        op.execute("ALTER TABLE file_chunk ALTER COLUMN content SET STORAGE EXTERNAL")
