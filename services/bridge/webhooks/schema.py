"""The tables of webhook calls, attempts and failing endpoints. Times are seconds since the epoch."""

from sqlalchemy import Column, Double, Index, Integer, String, Table, Text

from services.outbox.schema import metadata

webhook_call = Table(
    "webhook_call",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(32), nullable=False),
    # ID of the approval or message that the call reports.
    Column("subject", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Scheme, host and port; calls of one origin share a limit.
    Column("origin", Text, nullable=False, default="", server_default=""),
    Column("body", Text, nullable=False),
    # Secret of this destination, two while they are rotated; empty: the service's own secret.
    Column("secret", Text, nullable=False, default=""),
    Column("traceparent", String(55)),
    Column("state", String(12), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("finished_at", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_error", Text),
    Index("webhook_call_subject", "subject"),
)
Index(
    "webhook_call_due",
    webhook_call.c.origin,
    webhook_call.c.due_at,
    sqlite_where=webhook_call.c.state == "waiting",
    postgresql_where=webhook_call.c.state == "waiting",
)

webhook_attempt = Table(
    "webhook_attempt",
    metadata,
    Column("call_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("started_at", Double, nullable=False),
    # Null until the answer is written; after a crash it is unknown whether the call was accepted.
    Column("finished_at", Double),
    Column("status", Integer),
    Column("error", Text),
)

# Endpoints whose last call failed; a row is deleted when a call is accepted.
webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("url", Text, primary_key=True),
    Column("failing_since", Double, nullable=False),
    Column("tried_at", Double, nullable=False, index=True),
    Column("last_error", Text, nullable=False),
    # From then on calls fail without an attempt, except one probe a day.
    Column("disabled_at", Double),
    Column("probe_at", Double),
)
