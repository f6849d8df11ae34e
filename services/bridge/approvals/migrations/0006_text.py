"""Approvals whose answer is a text."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("approval", sa.Column("text_limit", sa.Integer(), nullable=True))
    op.add_column("approval", sa.Column("answer_text", sa.Text(), nullable=True))
    op.add_column("approval_answer", sa.Column("text", sa.Text(), nullable=True))
