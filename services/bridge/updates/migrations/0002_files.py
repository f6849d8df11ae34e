"""Files that people send; their content stays with Telegram."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    for name, kind in (
        ("file_kind", sa.String(length=16)),
        ("telegram_file_id", sa.Text()),
        ("file_size", sa.BigInteger()),
        ("file_type", sa.Text()),
        ("file_name", sa.Text()),
        ("file_width", sa.Integer()),
        ("file_height", sa.Integer()),
        ("file_seconds", sa.Integer()),
    ):
        op.add_column("response", sa.Column(name, kind, nullable=True))
