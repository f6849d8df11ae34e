"""The tables, and the SQL conditions that their partial indexes serve.

Times are seconds since the epoch, UTC.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    case,
    false,
    func,
    literal_column,
    or_,
    text,
)

from services.outbox.messages import DESTINATION_REFUSES, FAILED, MessageState

metadata = MetaData()
# SQLite numbers rows itself only where the key is spelled INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")

event = Table(
    "event",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("type", String(64), nullable=False),
    Column("category", String(32), nullable=False),
    Column("title", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("client", Text, nullable=False),
    Column("traceparent", String(55), nullable=False),
    Column("accepted_at", Double, nullable=False),
    # The time just before the commit that stored it.
    Column("written_at", Double),
    # URL that is called when one of its messages ends.
    Column("callback_url", Text),
    # A value of services.outbox.messages.Origin.
    Column("origin", String(8), nullable=False, server_default="client"),
    Index("event_correlation", "correlation_id"),
)

Index(
    "event_callback",
    event.c.id,
    sqlite_where=event.c.callback_url.is_not(None),
    postgresql_where=event.c.callback_url.is_not(None),
)

message = Table(
    "message",
    metadata,
    # The order of acceptance: a message accepted after another has the higher number.
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("id", String(36), nullable=False, unique=True),
    Column("event_id", String(36), ForeignKey("event.id"), nullable=False),
    # The event's type, copied: a search by it reads one index.
    Column("type", String(64), nullable=False, server_default=""),
    Column("bot", Text, nullable=False),
    Column("chat_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger),
    Column("lane", SmallInteger, nullable=False),
    Column("silent", Boolean, nullable=False),
    Column("on_unknown", String(8), nullable=False),
    Column("state", String(12), nullable=False),
    # A time, AT_ONCE (0) or CONTINUATION (-1) of services.outbox.messages; in SQL the conditions below.
    Column("due_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("accepted_at", Double, nullable=False),
    # When a person replayed it.
    Column("replayed_at", Double),
    Column("finished_at", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("retries", Integer, nullable=False, default=0),
    Column("resends", Integer, nullable=False, default=0),
    Column("part", Integer, nullable=False, default=0),
    Column("possible_duplicate", Boolean, nullable=False, default=False),
    Column("plain", Boolean, nullable=False, default=False),
    Column("telegram_message_ids", Text, nullable=False, default=""),
    Column("reason", String(24), nullable=False, default="none"),
    # Id of the message that this one edits; null: it is sent as a new one.
    Column("edits", String(36)),
    Column("update_key", Text),
    # With an update key: whose it is, the name of an API key; and the event's timestamp.
    Column("update_client", Text),
    Column("update_at", Double),
    # Whether it is deferred: due_at is the end of its chat's quiet hours.
    Column("held", Boolean, nullable=False, default=False, server_default=false()),
    # The time it was to wait for: its deliver_at, or the end of quiet hours; null: it was due at once.
    Column("waits_from", Double),
    Index("message_event", "event_id"),
    Index("message_state", "state", "seq"),
    Index("message_type", "type", "seq"),
    Index("message_chat", "chat_id", "seq"),
    Index("message_accepted", "accepted_at"),
)


def in_state(state: MessageState) -> ColumnElement[bool]:
    """Messages in this state; as a literal, since no partial index serves a parameter."""
    return message.c.state == literal_column(f"'{state.value}'")


# One index for each waiting state: SQLite uses a partial index only for exactly its condition.
for _state in ("queued", "retry_wait"):
    Index(
        f"message_{_state}",
        message.c.bot,
        message.c.chat_id,
        message.c.lane,
        message.c.due_at,
        message.c.seq,
        sqlite_where=message.c.state == _state,
        postgresql_where=message.c.state == _state,
    )

#: SQL of Claimed.entered_at of services.outbox.messages: the latest of its three times.
_REPLAYED = func.coalesce(message.c.replayed_at, message.c.accepted_at)
_DUE = func.coalesce(message.c.waits_from, message.c.accepted_at)
ENTERED_AT = case((_REPLAYED > _DUE, _REPLAYED), else_=_DUE)

#: SQL of messages.is_failure().
IS_FAILURE = or_(
    message.c.state.in_([state.value for state in FAILED]),
    in_state(MessageState.SUPPRESSED)
    & message.c.reason.in_([reason.value for reason in DESTINATION_REFUSES]),
)

#: SQL of messages.is_scheduled() and is_continuation(), for the column ``due_at``.
IS_SCHEDULED = "due_at > 0"
IS_CONTINUATION = "due_at < 0"
# Few messages are scheduled; the others are written to one index less.
_SCHEDULED = text(IS_SCHEDULED)
Index("message_timed", message.c.due_at, sqlite_where=_SCHEDULED, postgresql_where=_SCHEDULED)

# Finished messages alone: waiting ones are written to one index less.
Index(
    "message_finished",
    message.c.finished_at,
    sqlite_where=message.c.finished_at.is_not(None),
    postgresql_where=message.c.finished_at.is_not(None),
)
Index(
    "message_replayed",
    message.c.replayed_at,
    sqlite_where=message.c.replayed_at.is_not(None) & message.c.finished_at.is_(None),
    postgresql_where=message.c.replayed_at.is_not(None) & message.c.finished_at.is_(None),
)
Index(
    "message_waits_from",
    message.c.waits_from,
    sqlite_where=message.c.waits_from.is_not(None) & message.c.finished_at.is_(None),
    postgresql_where=message.c.waits_from.is_not(None) & message.c.finished_at.is_(None),
)
Index(
    "message_update_key",
    message.c.bot,
    message.c.chat_id,
    message.c.update_client,
    message.c.update_key,
    message.c.seq,
    sqlite_where=message.c.update_key.is_not(None),
    postgresql_where=message.c.update_key.is_not(None),
)

# The edits of a message.
Index(
    "message_edits",
    message.c.edits,
    sqlite_where=message.c.edits.is_not(None),
    postgresql_where=message.c.edits.is_not(None),
)

#: The name of the only bot, where there is one; its messages are in no index by bot.
DEFAULT_BOT = "default"
Index(
    "message_bot",
    message.c.bot,
    message.c.seq,
    sqlite_where=message.c.bot != DEFAULT_BOT,
    postgresql_where=message.c.bot != DEFAULT_BOT,
)

attempt = Table(
    "attempt",
    metadata,
    Column("message_seq", _Serial, ForeignKey("message.seq"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("part", Integer, nullable=False),
    Column("claimed_at", Double, nullable=False),
    Column("limiter_wait", Double, nullable=False),
    # Null until the answer is written; an attempt that a crash leaves so has the outcome unknown.
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("settled_at", Double),
    Column("outcome", String(8)),
    Column("reason", String(24)),
    Column("state", String(12)),
    Column("detail", Text),
    Column("telegram_message_id", BigInteger),
    Column("retry_after", Double),
)
# A reply names the message that it answers by Telegram's id of it.
Index(
    "attempt_telegram_message",
    attempt.c.telegram_message_id,
    sqlite_where=attempt.c.telegram_message_id.is_not(None),
    postgresql_where=attempt.c.telegram_message_id.is_not(None),
)

# The messages of an album after its first one, whose id is the attempt's.
album_message = Table(
    "album_message",
    metadata,
    Column("message_seq", _Serial, ForeignKey("message.seq"), primary_key=True),
    Column("telegram_message_id", BigInteger, primary_key=True, autoincrement=False),
    Index("album_message_telegram", "telegram_message_id"),
)

# Changes of a message other than by an attempt.
change = Table(
    "change",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("message_seq", _Serial, ForeignKey("message.seq"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    Column("state", String(12), nullable=False),
    Column("cause", Text, nullable=False),
)

# One row for each transaction that changed messages, in the order of the commits; see change_feed.
feed = Table(
    "feed",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    # PostgreSQL's number of the transaction, by the column's default there; 0 on SQLite.
    Column("tx", BigInteger, nullable=False, server_default="0"),
    Column("at", Double, nullable=False),
    Column("changes", Text, nullable=False),
    Index("feed_order", "tx", "id"),
    Index("feed_at", "at"),
    # A number is not reused when the last row is deleted.
    sqlite_autoincrement=True,
)

chat = Table(
    "chat",
    metadata,
    Column("bot", Text, primary_key=True),
    Column("chat_id", BigInteger, primary_key=True, autoincrement=False),
    Column("lane", SmallInteger, nullable=False, default=1),
    # When the chat can be claimed; null while it is leased or nothing waits.
    Column("next_at", Double),
    Column("owner", Text),
    Column("lease_until", Double, nullable=False, default=0.0),
    # Tokens of Telegram's rates for the chat: one message a second, and for groups twenty a minute.
    Column("tokens", Double, nullable=False, default=0.0),
    Column("group_tokens", Double, nullable=False, default=0.0),
    Column("sent_at", Double, nullable=False, default=0.0),
    Column("open_at", Double, nullable=False, default=0.0),
    Column("blocked", String(24)),
    Column("migrated_to", BigInteger),
    # The end of the mute.
    Column("muted_until", Double),
    # The client that posted the next message: the queue is fair to clients.
    Column("client", Text, nullable=False, default="", server_default=""),
    # The chat's settings as the owning service writes them, JSON; the engine only passes them on.
    Column("settings", Text),
)
Index(
    "chat_ready",
    chat.c.bot,
    chat.c.lane,
    chat.c.client,
    chat.c.next_at,
    sqlite_where=chat.c.next_at.is_not(None),
    postgresql_where=chat.c.next_at.is_not(None),
)
Index(
    "chat_leased",
    chat.c.lease_until,
    sqlite_where=chat.c.owner.is_not(None),
    postgresql_where=chat.c.owner.is_not(None),
)
# Groups that became supergroups, by either id: searches and settings by one are those of the other.
for _name, _column in (("chat_migrated", chat.c.chat_id), ("chat_migrated_to", chat.c.migrated_to)):
    Index(
        _name,
        _column,
        sqlite_where=chat.c.migrated_to.is_not(None),
        postgresql_where=chat.c.migrated_to.is_not(None),
    )

idempotency = Table(
    "idempotency",
    metadata,
    Column("client", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("body_hash", String(64), nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", Double, nullable=False, index=True),
)

# Names that can be used once: signatures of requests, files of a folder.
once = Table(
    "once",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("at", Double, nullable=False),
    Index("once_at", "at"),
)

# Events that were repeated: how often within their window, and when their messages are edited to show it.
repeats = Table(
    "repeats",
    metadata,
    Column("event_id", String(36), primary_key=True),
    Column("client", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("topics", String(64), nullable=False),
    Column("first_at", Double, nullable=False),
    # The end of the window.
    Column("until", Double, nullable=False),
    Column("repeats", BigInteger, nullable=False),
    Column("last_at", Double, nullable=False),
    # When the number is shown next; null: it is shown.
    Column("edit_at", Double),
    Column("edited_at", Double, nullable=False),
    Index("repeats_key", "client", "key", "topics", "until"),
    Index("repeats_last", "last_at"),
)
Index(
    "repeats_edit",
    repeats.c.edit_at,
    sqlite_where=repeats.c.edit_at.is_not(None),
    postgresql_where=repeats.c.edit_at.is_not(None),
)

# Digests: messages with one key that are sent as one, and what became of it.
digest = Table(
    "digest",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("client", Text, nullable=False),
    Column("key", Text, nullable=False),
    Column("bot", Text, nullable=False),
    Column("chat_id", BigInteger, nullable=False),
    Column("thread_id", BigInteger),
    Column("opened_at", Double, nullable=False),
    Column("until", Double, nullable=False),
    Column("members", Integer, nullable=False),
    # A value of services.outbox.intake.digests.Phase.
    Column("phase", String(12), nullable=False),
    # The message that shows them.
    Column("message_id", String(36), index=True),
    Index("digest_key", "client", "key", "bot", "chat_id", "until"),
    Index("digest_phase", "phase", "until"),
)
digest_member = Table(
    "digest_member",
    metadata,
    Column("message_id", String(36), primary_key=True),
    Column("digest_id", String(36), nullable=False, index=True),
)

# Restores of this database from a backup, written by the restore itself.
restore_log = Table(
    "restore_log",
    metadata,
    Column("id", _Serial, primary_key=True, autoincrement=True),
    Column("backup_at", Double, nullable=False),
    Column("restored_at", Double, nullable=False),
    # A value of services.outbox.delivery.after_restore.Unsent, and the numbers of messages.
    Column("unsent", String(8), nullable=False),
    Column("held", Integer, nullable=False),
    Column("marked", Integer, nullable=False),
)

# Why a bot is stopped: Telegram refuses its token. Its messages wait.
bot = Table(
    "bot",
    metadata,
    Column("name", Text, primary_key=True),
    Column("stopped", String(24)),
)
