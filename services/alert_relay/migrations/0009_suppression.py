"""Maintenance windows, throttles, and weekly digests."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "maintenance_window",
        sa.Column("id", sa.String(36), primary_key=True),
        sa.Column("request_key", sa.Text(), unique=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("matchers", sa.Text(), nullable=False),
        sa.Column("cluster", sa.Text(), nullable=False),
        sa.Column("starts_at", sa.Double(), nullable=False),
        sa.Column("ends_at", sa.Double(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("zone", sa.Text(), nullable=False),
        sa.Column("first_starts_at", sa.Double(), nullable=False),
        sa.Column("spares_urgent", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ended_at", sa.Double()),
    )
    op.create_index("maintenance_window_ended", "maintenance_window", ["ended_at", "ends_at"])
    op.create_table(
        "last_sound",
        sa.Column("incident_id", sa.String(36), sa.ForeignKey("incident.id"), primary_key=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("resolved", sa.Boolean(), nullable=False),
        sa.Column("held_back", sa.Integer(), nullable=False),
    )
    op.create_table(
        "weekly_digest",
        sa.Column("until", sa.Double(), primary_key=True, autoincrement=False),
        sa.Column("sent_at", sa.Double(), nullable=False),
    )
