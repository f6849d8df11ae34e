"""The messages that show an approval: finds them, edits them, and cancels those that wait."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, select

from services.bridge import bot_messages
from services.bridge.approvals import store
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.schema import approval_message
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.contracts.fields import Severity
from services.outbox.chats import locks
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.messages import MessageState, Submission
from services.outbox.schema import message


def of(connection: Connection, approval_id: str) -> Sequence[Any]:
    """The rows of the messages that ask."""
    asks = (approval_message.c.approval_id == approval_id, store.ASKS)
    return connection.execute(select(approval_message).where(*asks)).all()


def delivered(connection: Connection, approval_id: str) -> Sequence[Any]:
    """The rows of those messages that ask and that are in their chats.

    An edit of one that waits, or that failed, would take the place of its replay.
    """
    query = (
        select(approval_message)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(
            approval_message.c.approval_id == approval_id,
            store.ASKS,
            message.c.state == MessageState.DELIVERED.value,
        )
        .order_by(message.c.seq)
    )
    return connection.execute(query).all()


def cancel_waiting(
    connection: Connection, approval_id: str, cause: str, now: float, *, kind: str | None = None
) -> None:
    """Cancels the messages of an approval that still wait, as they are no longer needed.

    Args:
        connection: in a transaction.
        approval_id: the approval.
        cause: for people, shown in the messages' history.
        now: seconds since the epoch.
        kind: only those of this kind; None: all.
    """
    query = (
        select(approval_message.c.message_id, approval_message.c.kind, message.c.bot, message.c.chat_id)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(approval_message.c.approval_id == approval_id)
    )
    rows = connection.execute(query).all()
    # All chats at once, in one order: the edits that follow lock them too.
    locks.lock_chats(connection, [(row.bot, row.chat_id) for row in rows])
    ids = [row.message_id for row in rows if kind in (None, row.kind)]
    cancel_replay.cancel_all(connection, ids, cause, now)


def edit(
    connection: Connection,
    approval: Approval,
    shown: Sequence[Any],
    texts: Mapping[str, BotMessage],
    *,
    kind: str,
    now: float,
) -> tuple[Submission, ...]:
    """Stores edits of messages that ask; returns what was stored.

    Args:
        connection: in a transaction.
        approval: as the edits show it.
        shown: rows of the messages.
        texts: what the messages show then, by their kind.
        kind: of the edits.
        now: seconds since the epoch.
    """
    submissions = []
    for asking, text in texts.items():
        to = [
            Recipient(row.chat_id, row.thread_id, edits=row.message_id) for row in shown if row.kind == asking
        ]
        if to:
            submissions.append(_submission(approval, text, to, now))
    for submission in submissions:
        store.add_messages(connection, approval.id, submission.messages[0], kind)
    enqueue.insert(connection, submissions, now)
    return tuple(submissions)


def _submission(approval: Approval, text: BotMessage, to: Sequence[Recipient], now: float) -> Submission:
    info = EventInfo(
        "user_response",
        approval.title,
        approval.correlation_id,
        approval.trace,
        approval.source,
        Severity(approval.severity),
    )
    return bot_messages.new_submission(text, to, info, approval.trace.child(), bot=approval.bot, now=now)
