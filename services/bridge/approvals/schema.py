"""Approvals, the messages that show them, and all answers. Times are seconds since the epoch, UTC.

Ids of messages and events are not foreign keys: those may be archived before the approval is deleted.
"""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, SmallInteger, String, Table, Text

from services.outbox.schema import metadata

_Serial = BigInteger().with_variant(Integer, "sqlite")

approval = Table(
    "approval",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("code", String(8), nullable=False, unique=True),
    Column("token", String(24), nullable=False, unique=True),
    Column("state", String(12), nullable=False),
    Column("title", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("approvers", Text, nullable=False),
    Column("bot", Text, nullable=False),
    # Name of the key that created it.
    Column("client", Text, nullable=False, default="", server_default=""),
    Column("source", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("event_id", String(36), nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("callback_url", Text),
    Column("metadata", Text),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("closed_at", Double),
    Column("chosen", SmallInteger),
    Column("closed_by", Text),
    Column("closed_by_id", BigInteger),
    Column("via", String(8)),
    Column("comment", Text, nullable=False, default=""),
    # When its last message ended undelivered; null again once a chat shows it.
    Column("undelivered_at", Double),
    # How many different people must choose the first option, and those who have: JSON lists of user id,
    # API key, name, way and time.
    Column("needed", Integer, nullable=False, default=1, server_default="1"),
    # Of a question whose answer is a text: its longest length in characters, and the text that decided.
    Column("text_limit", Integer),
    Column("answer_text", Text),
    Column("votes", Text, nullable=False, default="[]", server_default="[]"),
    Index("approval_correlation", "correlation_id"),
    Index("approval_closed", "closed_at"),
    Index("approval_client", "client", "seq"),
)
Index(
    "approval_open",
    approval.c.expires_at,
    sqlite_where=approval.c.state == "open",
    postgresql_where=approval.c.state == "open",
)

# The messages that show an approval: a verdict edits them, and a reply to one of them is an answer.
approval_message = Table(
    "approval_message",
    metadata,
    Column("message_id", String(36), primary_key=True),
    Column("approval_id", String(36), nullable=False, index=True),
    Column("chat_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger),
    Column("kind", String(8), nullable=False),
)

# Open questions that are asked again or escalated; the row of a closed question is deleted when it is due.
approval_reminder = Table(
    "approval_reminder",
    metadata,
    Column("approval_id", String(36), primary_key=True),
    Column("remind_every", Double, nullable=False),
    Column("remind_left", Integer, nullable=False),
    Column("remind_at", Double),
    Column("escalate_at", Double),
    Column("escalate_to", Text, nullable=False),
)
for _name in ("remind_at", "escalate_at"):
    Index(
        f"approval_{_name}",
        approval_reminder.c[_name],
        sqlite_where=approval_reminder.c[_name].is_not(None),
        postgresql_where=approval_reminder.c[_name].is_not(None),
    )

approval_answer = Table(
    "approval_answer",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("approval_id", String(36), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("via", String(8), nullable=False),
    Column("user_id", BigInteger),
    Column("name", Text, nullable=False),
    Column("option", Text),
    Column("outcome", String(16), nullable=False),
    # The text of an answer in one's own words; of another answer null.
    Column("text", Text),
)
