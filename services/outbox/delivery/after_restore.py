"""After a restore: messages that may have been sent since the backup are held or marked.

The restore calls :func:`apply` before a service opens the database, so that none of them is sent as if it
were new. A message that was scheduled for a time after the restore cannot have been sent, and stays.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, and_, case, func, insert, literal, or_, select, update

from services.kit.clock import rfc3339
from services.outbox import change_feed
from services.outbox.chats import chat_queue, message_changes
from services.outbox.messages import (
    AT_ONCE,
    CONTINUATION,
    IN_DIGEST,
    UNFINISHED,
    MessageState,
    Origin,
    Outcome,
    Reason,
    UnknownPolicy,
)
from services.outbox.schema import attempt, chat, event, message, restore_log

#: Messages or chats of one statement.
PORTION = 500


class Unsent(StrEnum):
    """What becomes of a message that waited at the time of the backup."""

    HOLD = "hold"  #: it ends as unknown, and a person may replay it
    MARK = "mark"  #: it is sent, marked as a possible duplicate


@dataclass(frozen=True, slots=True)
class Unfinished:
    """The messages that waited at the time of the backup.

    Args:
        held: ended as unknown, with the reason ``restored``.
        marked: wait, and are sent marked as possible duplicates.
        scheduled: wait for a time after the restore, unchanged.
    """

    held: int
    marked: int
    scheduled: int


def apply(connection: Connection, unsent: Unsent, *, backup_at: float, now: float) -> Unfinished:
    """Holds or marks the messages, ends the leases of the old workers, and logs the restore.

    An event that forbids repetitions (``on_unknown: hold``) is held in any case. An alert is marked in any
    case: a repeated alert costs a look, a missing one may cost more.

    Args:
        connection: in a transaction.
        unsent: the choice for all other messages.
        backup_at: when the backup began, seconds since the epoch.
        now: seconds since the epoch.
    """
    change_feed.repair_after_restore(connection)
    cause = f"restored from a backup of {rfc3339(backup_at)}: it may have been sent since"
    held = marked = 0
    for rows in _unfinished(connection, now):
        hold = [row for row in rows if _is_held(row, unsent)]
        mark = [row for row in rows if not _is_held(row, unsent)]
        _may_have_arrived(connection, [row.seq for row in rows])
        message_changes.finish(
            connection,
            [row.seq for row in hold],
            MessageState.UNKNOWN,
            Reason.RESTORED,
            cause=f"{cause}; held",
            now=now,
        )
        if mark:
            states = [(row.seq, _waiting_state(row)) for row in mark]
            message_changes.record(connection, states, f"{cause}; marked", now)
        held, marked = held + len(hold), marked + len(mark)
    _close_attempts(connection, now)
    _end_leases(connection, now)
    connection.execute(
        insert(restore_log).values(
            backup_at=backup_at, restored_at=now, unsent=unsent.value, held=held, marked=marked
        )
    )
    scheduled = select(func.count()).select_from(message).where(_is_scheduled_after(now))
    return Unfinished(held, marked, connection.execute(scheduled).scalar_one())


def _is_held(row: Any, unsent: Unsent) -> bool:
    if row.on_unknown == UnknownPolicy.HOLD.value:
        return True
    return unsent is Unsent.HOLD and row.origin != Origin.ALERT.value


def _waiting_state(row: Any) -> MessageState:
    state = MessageState(row.state)
    return MessageState.QUEUED if state is MessageState.SENDING else state


def _unfinished(connection: Connection, now: float) -> Iterator[Sequence[Any]]:
    """The messages that may have been sent since, in portions."""
    columns = (message.c.seq, message.c.state, message.c.on_unknown, event.c.origin)
    query = (
        select(*columns)
        .join(event, message.c.event_id == event.c.id)
        .where(message.c.state.in_([state.value for state in UNFINISHED]), ~_is_scheduled_after(now))
        .order_by(message.c.seq)
        .limit(PORTION)
    )
    after = 0
    while rows := connection.execute(query.where(message.c.seq > after)).all():
        yield rows
        after = rows[-1].seq


def _is_scheduled_after(now: float) -> Any:
    """Whether no worker can have sent it: it was never claimed, and its time comes after the restore.

    The end of quiet hours is no such time: a person may have changed them. A message that waits in a digest
    is sent at the end of its window; once it is combined, the digest's message says what may have been sent.
    """
    return and_(
        message.c.state == MessageState.QUEUED.value,
        message.c.due_at > literal(now),
        or_(message.c.due_at < IN_DIGEST, message.c.waits_from > literal(now)),
        message.c.attempts == 0,
        ~message.c.held,
    )


def _may_have_arrived(connection: Connection, seqs: Sequence[int]) -> None:
    """Notes that the next part of these messages may be in the chat; those being sent wait again."""
    sending = message.c.state == MessageState.SENDING.value
    connection.execute(
        update(message)
        .where(message.c.seq.in_(seqs))
        .values(
            possible_duplicate=True,
            resends=case((message.c.resends > 0, message.c.resends), else_=1),
            due_at=case(
                (and_(sending, message.c.part > 0), CONTINUATION),
                (sending, AT_ONCE),
                else_=message.c.due_at,
            ),
            state=case((sending, MessageState.QUEUED.value), else_=message.c.state),
        )
    )


def _close_attempts(connection: Connection, now: float) -> None:
    """Closes the attempts that were under way: their outcome is unknown."""
    state = select(message.c.state).where(message.c.seq == attempt.c.message_seq).scalar_subquery()
    connection.execute(
        update(attempt)
        .where(attempt.c.outcome.is_(None))
        .values(
            outcome=Outcome.UNKNOWN.value,
            reason=Reason.RESTORED.value,
            detail="the database was restored from a backup that was made during this attempt",
            state=state,
            finished_at=now,
            settled_at=now,
        )
    )


def _end_leases(connection: Connection, now: float) -> None:
    """Ends the leases of the old workers; a chat with waiting messages is queued again."""
    leased = select(chat.c.bot, chat.c.owner, chat.c.chat_id).where(chat.c.owner.is_not(None))
    rows = connection.execute(leased.order_by(chat.c.bot, chat.c.owner, chat.c.chat_id)).all()
    for (bot, owner), chats in groupby(rows, key=lambda row: (row.bot, row.owner)):
        ids = [row.chat_id for row in chats]
        for start in range(0, len(ids), PORTION):
            some = ids[start : start + PORTION]
            chat_queue.release(connection, bot, owner, some, now=now, pace=chat_queue.pace_of)
