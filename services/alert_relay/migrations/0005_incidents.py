"""Incidents have versions and timers, and can be acknowledged and reopened; timeline entries have actors."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("incident", sa.Column("version", sa.Integer(), nullable=False, server_default="1"))
    op.add_column("incident", sa.Column("external_url", sa.Text(), nullable=False, server_default=""))
    op.add_column("incident", sa.Column("resolved_by", sa.Text()))
    op.add_column("incident", sa.Column("acknowledged_by", sa.Text()))
    op.add_column("incident", sa.Column("acknowledged_at", sa.Double()))
    op.add_column("incident", sa.Column("first_acknowledged_at", sa.Double()))
    op.add_column("incident", sa.Column("reopened", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("incident", sa.Column("flaps", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("incident", sa.Column("storm_id", sa.String(36)))
    op.create_index("ix_incident_storm_id", "incident", ["storm_id"])
    op.create_index("incident_opened", "incident", ["cluster", "opened_at"])
    op.add_column("entry", sa.Column("actor", sa.Text()))
    op.create_table(
        "timer",
        sa.Column("incident_id", sa.String(36), sa.ForeignKey("incident.id"), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("set_at", sa.Double(), nullable=False),
        sa.Column("due_at", sa.Double(), nullable=False),
    )
    op.create_index("timer_due", "timer", ["due_at"])
