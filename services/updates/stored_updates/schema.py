"""Updates as Telegram sent them. Times: seconds since the epoch, UTC."""

from sqlalchemy import (
    BigInteger,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

#: Whose migrations make the table.
PACKAGE = "services.updates.stored_updates"
# Of its own: each service that receives updates has tables of its own beside it.
metadata = MetaData()

telegram_update = Table(
    "telegram_update",
    metadata,
    # The order of arrival; Telegram may choose new ids after a week without updates.
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("bot", Text, nullable=False),
    Column("update_id", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("state", String(8), nullable=False),
    # JSON of the Bot API calls that follow from the update and are not done; null: none.
    Column("chores", Text),
    Column("handled_at", Double),
    Column("tries", Integer, nullable=False, default=0),
    Column("error", Text),
    UniqueConstraint("bot", "update_id", name="telegram_update_once"),
)
Index(
    "telegram_update_open",
    telegram_update.c.bot,
    telegram_update.c.seq,
    sqlite_where=telegram_update.c.state.in_(("stored", "chores")),
    postgresql_where=telegram_update.c.state.in_(("stored", "chores")),
)
Index("telegram_update_age", telegram_update.c.received_at)
