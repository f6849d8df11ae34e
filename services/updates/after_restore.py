"""After a restore: updates that were not handled at the backup are not handled a second time."""

from sqlalchemy import Connection, update

from services.updates.stored_updates.schema import telegram_update
from services.updates.stored_updates.store import UpdateState

_CAUSE = "restored from a backup: it may have been done since"


def apply(connection: Connection) -> None:
    """Sets aside the updates that were under way at the backup, and their Bot API calls."""
    under_way = (UpdateState.STORED.value, UpdateState.CALLS_PENDING.value)
    connection.execute(
        update(telegram_update)
        .where(telegram_update.c.state.in_(under_way))
        .values(state=UpdateState.FAILED.value, chores=None, error=_CAUSE)
    )
