"""Approval changes in the change feed: a question's new state, for the stream.

The feed has changes of messages. That of a question is written as news of a message that shows it, so it has
a position in the feed, and the filters of a client apply to it.
"""

from sqlalchemy import Connection

from services.outbox import change_feed
from services.outbox.change_feed import Change

_PREFIX = "approval."


def write(connection: Connection, message_id: str, approval_id: str, status: str, now: float) -> None:
    """Writes a change, in the transaction that makes it.

    Args:
        connection: in a transaction.
        message_id: of a message that shows the question.
        approval_id: of the approval.
        status: its new status.
        now: seconds since the epoch.
    """
    change_feed.write(connection, [(message_id, _PREFIX + status, 0, approval_id)], now)


def status_of(change: Change) -> str | None:
    """The new status of the approval; None: the change is one of a message."""
    return change.state.removeprefix(_PREFIX) if change.state.startswith(_PREFIX) else None


def approval_of(change: Change) -> str:
    """The approval's id."""
    return change.cause
