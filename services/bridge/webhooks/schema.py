"""Calls to other programs, and each attempt. Times are seconds since the epoch, UTC."""

from sqlalchemy import Column, Double, Index, Integer, String, Table, Text

from services.outbox.schema import metadata

webhook_call = Table(
    "webhook_call",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(32), nullable=False),
    # What it tells about: an approval's id, a message's.
    Column("subject", Text, nullable=False),
    Column("url", Text, nullable=False),
    # Scheme, host and port: those of one share its room.
    Column("origin", Text, nullable=False, default="", server_default=""),
    Column("body", Text, nullable=False),
    # Of this destination alone, or two while they change; empty: the service's own secret signs.
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
    # Open until the answer is written: what a crash leaves open was perhaps taken.
    Column("finished_at", Double),
    Column("status", Integer),
    Column("error", Text),
)

# Of those whose last call was not taken; gone with the first that is.
webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    Column("url", Text, primary_key=True),
    Column("failing_since", Double, nullable=False),
    Column("tried_at", Double, nullable=False, index=True),
    Column("last_error", Text, nullable=False),
    # From then on its calls end untried, but for one a day.
    Column("disabled_at", Double),
    Column("probe_at", Double),
)
