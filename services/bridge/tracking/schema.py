"""Bulk jobs, callbacks, archiving under way, and totals. Times are seconds since the epoch, UTC."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, String, Table, Text

from services.outbox.schema import metadata

job = Table(
    "job",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("wanted", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("why", Text, nullable=False),
    # A repetition of the request with the same key finds this job.
    Column("key", Text),
    Column("state", String(12), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("finished_at", Double),
    # How many fitted at the start; how many were looked at, and how many of them replayed.
    Column("total", Integer, nullable=False),
    Column("passed", Integer, nullable=False, default=0),
    Column("done", Integer, nullable=False, default=0),
    # Numbers of messages: the last one passed, and the last one there was at the start.
    Column("after", BigInteger, nullable=False, default=0),
    Column("upto", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False, default=0),
    Column("error", Text),
    Index("job_state", "state", "created_at"),
    Index("job_key", "created_by", "key", unique=True),
)

# The callback of each key: it is called when a message of the key reaches its final state.
callback = Table(
    "callback",
    metadata,
    Column("client", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", Text, nullable=False),
    # The one before signs as well until then.
    Column("previous", Text, nullable=False, default="", server_default=""),
    Column("previous_until", Double, nullable=False, default=0.0, server_default="0"),
    Column("created_at", Double, nullable=False),
)

# Notes of the archive: written before a file grows, deleted with the archived messages. A note that is left
# over means that a crash came in between.
archiving = Table(
    "archiving",
    metadata,
    Column("id", String(36), primary_key=True),
    # Which folder: replicas on other machines cannot see it.
    Column("place", String(36), nullable=False),
    Column("file", Text, nullable=False),
    Column("size_before", BigInteger, nullable=False),
    Column("at", Double, nullable=False),
)

# One row: the changes of messages up to a position in the change feed, counted. See totals.
message_total = Table(
    "message_total",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    # When counting began.
    Column("since", Double, nullable=False),
    Column("position", Text, nullable=False),
    Column("accepted", BigInteger, nullable=False, default=0),
    Column("delivered", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("retries", BigInteger, nullable=False, default=0),
    Column("dead_letters", BigInteger, nullable=False, default=0),
    Column("unknown", BigInteger, nullable=False, default=0),
)
