"""Each incident has an audience, and a policy that escalates it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("incident", sa.Column("policy", sa.Text()))
    op.add_column("incident", sa.Column("level", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("incident", sa.Column("round", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("incident", sa.Column("escalates_from", sa.Double()))
    op.add_column("notification", sa.Column("purpose", sa.String(8)))
    op.create_table(
        "audience",
        sa.Column("incident_id", sa.String(36), sa.ForeignKey("incident.id"), primary_key=True),
        sa.Column("target", sa.Text(), primary_key=True),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("added_at", sa.Double(), nullable=False),
        sa.Column("first_event", sa.String(36)),
        sa.Column("storm_id", sa.String(36)),
    )
    op.create_index("ix_audience_storm_id", "audience", ["storm_id"])
    # Who was notified of an incident before: the chats of its first message, or of the message of its storm.
    op.execute(
        "INSERT INTO audience (incident_id, target, level, added_at, first_event, storm_id)"
        " SELECT notification.incident_id, 'telegram:' || message.chat_id, 0, min(notification.at),"
        " min(CASE WHEN notification.kinds <> 'storm' THEN notification.id END), max(incident.storm_id)"
        " FROM notification JOIN message ON message.event_id = notification.id"
        " JOIN incident ON incident.id = notification.incident_id"
        " GROUP BY notification.incident_id, message.chat_id"
    )
    op.execute(
        "UPDATE incident SET policy = '', escalates_from = opened_at"
        " WHERE id IN (SELECT incident_id FROM audience)"
    )
