"""Edits of delivered messages: a changed event is stored with a message that edits the first one.

The edit waits in its chat's queue like every message: it keeps the order, survives a restart, has a history.
"""

from typing import Any

import orjson
from pydantic import ValidationError
from sqlalchemy import Connection, select

from services.bridge.tracking import follow_up
from services.bridge.tracking.follow_up import By
from services.contracts.events import NewEvent
from services.contracts.messages import MessageChanges
from services.contracts.stored import json_of
from services.kit.errors import Problem, invalid_input
from services.outbox.chats import locks, message_changes
from services.outbox.messages import MessageState, Origin, Submission
from services.outbox.queries import shown
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import event, message

_ROW = select(
    *(message.c.seq, message.c.id, message.c.bot, message.c.chat_id, message.c.thread_id),
    *(message.c.lane, message.c.state, message.c.telegram_message_ids, message.c.on_unknown),
    *(event.c.type, event.c.category, event.c.source, event.c.severity, event.c.body, event.c.origin),
    *(event.c.correlation_id, event.c.traceparent, event.c.callback_url),
).join(event, message.c.event_id == event.c.id)


def edit(
    connection: Connection, message_id: str, changes: MessageChanges, by: By, now: float
) -> Submission | None:
    """Stores the edit of a message; None where there is no such message.

    Raises:
        Problem: 409, the message cannot be edited; 422, the changed event is invalid.
    """
    query = _ROW.where(message.c.id == message_id)
    row = connection.execute(query).first()
    if row is None:
        return None
    locks.lock_chats(connection, [(row.bot, row.chat_id)])
    row = connection.execute(query).one()
    if (digest := shown.digest_of(connection, row.id)) is not None:
        raise _problem(row, f"It is part of a digest, message {digest.message_id}, which is not edited.")
    _check(row)
    if shown.deletion_of(connection, shown.first_shown(connection, row.id)) is not None:
        raise _problem(row, "It is deleted.")
    posted, body = _changed(row.body, changes)
    stored = follow_up.store(
        connection, row, by, now, title=posted.title, body=body, callback_url=row.callback_url
    )
    ((replacing,),) = stored.messages
    cause = f"edited by the key {by.client}: message {replacing.id}"
    message_changes.note(connection, row.seq, MessageState(row.state), cause, now)
    return stored


def _check(row: Any) -> None:
    why = ""
    if row.origin != Origin.CLIENT.value:
        why = "It is no message of an event."
    elif row.state != MessageState.DELIVERED.value:
        why = f"It is {row.state}: only a delivered message is edited."
    elif len(telegram_ids(row.telegram_message_ids)) != 1:
        why = "It has several parts, or is a document with more."
    if why:
        raise _problem(row, why)


def _problem(row: Any, why: str) -> Problem:
    return Problem(409, "Cannot be edited", why, message_id=row.id, state=row.state)


def _changed(body: str, changes: MessageChanges) -> tuple[NewEvent, str]:
    """The event with the given fields replaced; null sets a field's default."""
    before = json_of(body)
    given = changes.model_dump(mode="json", include=changes.model_fields_set)
    merged = {**(before if isinstance(before, dict) else {}), **given}
    merged = {name: value for name, value in merged.items() if value is not None}
    text = orjson.dumps(merged)
    try:
        return NewEvent.model_validate_json(text), text.decode()
    except ValidationError as error:
        raise invalid_input([dict(entry) for entry in error.errors(include_url=False)]) from None
