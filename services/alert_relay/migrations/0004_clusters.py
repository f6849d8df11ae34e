"""Clusters have names, and external URLs that are joined to them; Prometheus replicas have heartbeats."""

from hashlib import sha256

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "cluster",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("received_at", sa.Double()),
        sa.Column("watchdog_at", sa.Double()),
        sa.Column("joined_to", sa.Text()),
        sa.Column("proven_urls", sa.Text()),
    )
    op.create_index("ix_cluster_joined_to", "cluster", ["joined_to"])
    op.execute(
        sa.text(
            "INSERT INTO cluster (name, created_at, received_at, watchdog_at)"
            " SELECT cluster, first_heard_at, heard_at, watchdog_at FROM alertmanager"
        )
    )
    op.drop_table("alertmanager")
    op.create_table(
        "heartbeat",
        sa.Column("cluster", sa.Text(), primary_key=True),
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
    )
    op.create_table(
        "receiver",
        sa.Column("cluster", sa.Text(), primary_key=True),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("received_at", sa.Double(), nullable=False),
    )
    op.execute(
        sa.text(
            "INSERT INTO receiver (cluster, name, received_at)"
            " SELECT cluster, receiver, max(last_received_at) FROM webhook GROUP BY cluster, receiver"
        )
    )
    _extend_episodes()
    _name_own_alerts()


def _extend_episodes() -> None:
    op.add_column("episode", sa.Column("ended_by", sa.String(12)))
    op.add_column("episode", sa.Column("notified_at", sa.Double()))
    op.add_column("episode", sa.Column("suspect_at", sa.Double()))
    op.add_column("episode", sa.Column("suppressed", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(sa.text("UPDATE episode SET notified_at = heard_at"))
    op.execute(sa.text("UPDATE episode SET ended_by = 'resolved' WHERE closed_at IS NOT NULL"))


def _name_own_alerts() -> None:
    """Takes the URL out of the fingerprint of WatchdogSilent, so that its episode can be joined."""
    own = sa.text(
        "UPDATE episode SET fingerprint = :fingerprint"
        " WHERE incident_id IN (SELECT id FROM incident WHERE alertname = 'WatchdogSilent')"
    )
    op.execute(own.bindparams(fingerprint=sha256(b"WatchdogSilent ").hexdigest()[:16]))
