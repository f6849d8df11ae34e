"""Deletions of messages: one that waits is cancelled; another is deleted by a message that is stored.

The deletion waits in its chat's queue like every message: it keeps the order, survives a restart, and has a
history.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from services.bridge.tracking import follow_up
from services.bridge.tracking.follow_up import By
from services.kit.errors import Problem
from services.outbox.chats import locks, message_changes
from services.outbox.intake import cancel_replay
from services.outbox.messages import (
    FINISHED,
    WAITING,
    MessageState,
    Origin,
    Submission,
)
from services.outbox.queries import shown
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import event, message
from services.outbox.telegram import deletion

_ROW = select(
    *(message.c.seq, message.c.id, message.c.bot, message.c.chat_id, message.c.thread_id),
    *(message.c.lane, message.c.state, message.c.part, message.c.telegram_message_ids),
    *(event.c.type, event.c.category, event.c.source, event.c.severity, event.c.title, event.c.origin),
    *(event.c.correlation_id, event.c.traceparent),
).join(event, message.c.event_id == event.c.id)


_IN_DIGEST = "It is part of a digest: delete message {}, which shows it beside others."


@dataclass(frozen=True, slots=True)
class Deletion:
    """How a message is deleted.

    Args:
        deletes: id of the message in the chat: of an edit, the message that it edited.
        by: id of the message that makes the deletion; None: the message was not sent, and is cancelled.
        stored: what this request stored; None: nothing, because an earlier one did.
        cancelled: whether this request cancelled the message.
    """

    deletes: str
    by: str | None
    stored: Submission | None = None
    cancelled: bool = False


def delete(connection: Connection, message_id: str, by: By, now: float) -> Deletion | None:
    """Cancels a message, or stores its deletion; None where there is no such message.

    Raises:
        Problem: 409, the message cannot be deleted.
    """
    row = connection.execute(_ROW.where(message.c.id == message_id)).first()
    if row is None:
        return None
    locks.lock_chats(connection, [(row.bot, row.chat_id)])
    first = shown.first_shown(connection, message_id)
    row = connection.execute(_ROW.where(message.c.id == first)).one()
    if row.origin not in {Origin.CLIENT.value, Origin.DIGEST.value}:
        raise _problem(row, "It is no message of an event.")
    if row.state in WAITING and row.part == 0:
        done = cancel_replay.cancel(connection, row.id, cancel_replay.By(by.client, "deleted"), now)
        if done is not None and done.shown_by is not None:
            raise _problem(row, _IN_DIGEST.format(done.shown_by))
        return Deletion(row.id, None, cancelled=done is not None and done.done)
    if row.state not in FINISHED:
        raise _problem(row, "It is being sent: try again when it is delivered.")
    if not row.telegram_message_ids:
        digest = shown.digest_of(connection, row.id)
        if digest is not None and row.state == MessageState.DELIVERED.value:
            raise _problem(row, _IN_DIGEST.format(digest.message_id))
        return _never_sent(row)
    if (earlier := shown.deletion_of(connection, row.id)) is not None:
        return Deletion(row.id, earlier)
    stored = _stored(connection, row, by, now)
    ((made,),) = stored.messages
    cause = f"to be deleted by the key {by.client}: message {made.id}"
    message_changes.note(connection, row.seq, MessageState(row.state), cause, now)
    return Deletion(row.id, made.id, stored)


def _never_sent(row: Any) -> Deletion:
    if row.state == MessageState.CANCELLED.value:
        return Deletion(row.id, None)
    raise _problem(row, f"It is {row.state}: nothing of it is known to be in the chat.")


def _problem(row: Any, why: str) -> Problem:
    return Problem(409, "Cannot be deleted", why, message_id=row.id, state=row.state)


def _stored(connection: Connection, row: Any, by: By, now: float) -> Submission:
    body = deletion.body_of(tuple(telegram_ids(row.telegram_message_ids)))
    title = f"Deletion: {row.title}"
    return follow_up.store(connection, row, by, now, title=title, body=body, origin=Origin.DELETION)
