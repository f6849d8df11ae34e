"""An update key belongs to a client and a topic; an update has the time of its state."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_PARTIAL = sa.text("update_key IS NOT NULL")
_message = sa.table(
    "message", sa.column("seq"), sa.column("event_id"), sa.column("thread_id"), sa.column("update_key")
)
_event = sa.table("event", sa.column("id"), sa.column("body"))


def upgrade() -> None:
    op.add_column("message", sa.Column("update_client", sa.Text(), nullable=True))
    op.add_column("message", sa.Column("update_at", sa.Double(), nullable=True))
    op.execute("""
        UPDATE message SET update_client = (SELECT client FROM event WHERE event.id = message.event_id)
        WHERE update_key IS NOT NULL
    """)
    _name_as_posted(op.get_bind())
    op.drop_index("message_update_key", "message")
    op.create_index(
        "message_update_key",
        "message",
        ["bot", "chat_id", "update_client", "update_key", "seq"],
        unique=False,
        sqlite_where=_PARTIAL,
        postgresql_where=_PARTIAL,
    )


def _name_as_posted(connection: sa.Connection) -> None:
    """Restores the key of events that went to several topics of a chat: it had the topic appended."""
    key, thread = _message.c.update_key, _message.c.thread_id
    appended = sa.literal("%/") + sa.func.coalesce(sa.cast(thread, sa.Text), "None")
    query = (
        sa.select(_message.c.seq, key, _event.c.body)
        .join(_event, _event.c.id == _message.c.event_id)
        .where(key.is_not(None), key.like(appended))
    )
    for seq, stored, body in connection.execute(query).all():
        posted = _posted(body)
        if posted is not None and posted != stored:
            renamed = sa.update(_message).where(_message.c.seq == seq).values(update_key=posted)
            connection.execute(renamed)


def _posted(body: str) -> str | None:
    """The key as the client posted it; None: it cannot be read."""
    try:
        key = json.loads(body).get("update_key")
    except (ValueError, AttributeError, RecursionError):
        return None
    return key if isinstance(key, str) else None
