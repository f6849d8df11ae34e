"""One message, or a few, with attempts and state changes: by its id, its event, its correlation id."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from sqlalchemy import Connection, Select, select

from services.outbox.queries.message_rows import (
    MESSAGE_COLUMNS,
    AttemptRow,
    ChangeRow,
    EventRow,
    MessageRow,
)
from services.outbox.schema import album_message, attempt, change, event, message

WITH_BODY = (*MESSAGE_COLUMNS, event.c.body, event.c.client)


@dataclass(frozen=True, slots=True)
class MessageTimeline:
    """A message with its attempts and its other state changes, each oldest first."""

    message: MessageRow
    attempts: list[AttemptRow]
    changes: list[ChangeRow]


class Correlation(NamedTuple):
    """What was posted under one correlation id, oldest first.

    Args:
        is_complete: false where a limit left some events or messages out.
    """

    events: list[EventRow]
    messages: list[MessageTimeline]
    is_complete: bool


class EventWithMessages(NamedTuple):
    event: EventRow
    messages: list[MessageRow]


def timeline(connection: Connection, message_id: str) -> MessageTimeline | None:
    """Returns the timeline of a message, with the event's ``body`` and ``client``; None if there is none."""
    query = select(*WITH_BODY).join(event, message.c.event_id == event.c.id)
    row = connection.execute(query.where(message.c.id == message_id)).mappings().first()
    if row is None:
        return None
    found = MessageTimeline(cast("MessageRow", row), [], [])
    _add_history(connection, {found.message["seq"]: found})
    return found


def timelines(
    connection: Connection, seqs: Sequence[int], *, with_body: bool = False
) -> list[MessageTimeline]:
    """Returns the timelines of messages in the order of acceptance, by three statements.

    Args:
        connection: for reading.
        seqs: sequence numbers of the messages; their number must be bounded.
        with_body: adds the event's ``body`` and ``client``.
    """
    query = select(*(WITH_BODY if with_body else MESSAGE_COLUMNS)).join(
        event, message.c.event_id == event.c.id
    )
    rows = _messages(connection, query.where(message.c.seq.in_(seqs)).order_by(message.c.seq))
    found = {row["seq"]: MessageTimeline(row, [], []) for row in rows}
    _add_history(connection, found)
    return list(found.values())


def _add_history(connection: Connection, found: dict[int, MessageTimeline]) -> None:
    attempts = select(attempt).where(attempt.c.message_seq.in_(list(found))).order_by(attempt.c.number)
    for row in connection.execute(attempts).mappings():
        found[row["message_seq"]].attempts.append(cast("AttemptRow", row))
    changes = select(change).where(change.c.message_seq.in_(list(found))).order_by(change.c.id)
    for row in connection.execute(changes).mappings():
        found[row["message_seq"]].changes.append(cast("ChangeRow", row))


def of_correlation(connection: Connection, correlation_id: str, most: int) -> Correlation:
    """Returns the events and messages of a correlation id, at most ``most`` of each."""
    query = select(event).where(event.c.correlation_id == correlation_id).order_by(event.c.id).limit(most)
    events = [cast("EventRow", row) for row in connection.execute(query).mappings()]
    of_these = message.c.event_id.in_([row["id"] for row in events])
    numbers = select(message.c.seq).where(of_these).order_by(message.c.seq).limit(most + 1)
    seqs = connection.execute(numbers).scalars().all()
    is_complete = len(events) < most and len(seqs) <= most
    return Correlation(events, timelines(connection, seqs[:most]), is_complete)


def of_event(connection: Connection, event_id: str) -> EventWithMessages | None:
    """Returns an event and its messages; None where there is no such event."""
    row = connection.execute(select(event).where(event.c.id == event_id)).mappings().first()
    if row is None:
        return None
    query = select(*MESSAGE_COLUMNS).join(event, message.c.event_id == event.c.id)
    messages = _messages(connection, query.where(message.c.event_id == event_id).order_by(message.c.seq))
    return EventWithMessages(cast("EventRow", row), messages)


def by_telegram_id(
    connection: Connection, bot: str, chat_id: int, telegram_message_id: int
) -> MessageRow | None:
    """Returns the message that a chat shows under Telegram's id, or None; of edits, the message they edit.

    Of an album it is the id of any of its messages.
    """
    for table in (attempt, album_message):
        query = (
            select(*MESSAGE_COLUMNS)
            .join(event, message.c.event_id == event.c.id)
            .join(table, table.c.message_seq == message.c.seq)
            .where(
                table.c.telegram_message_id == telegram_message_id,
                message.c.bot == bot,
                message.c.chat_id == chat_id,
            )
            .order_by(message.c.seq)
            .limit(1)
        )
        for row in _messages(connection, query):
            return row
    return None


def last_attempts(connection: Connection, seqs: Sequence[int]) -> dict[int, AttemptRow]:
    """Returns the last attempt of each message that has one, by sequence number."""
    query = (
        select(attempt)
        .join(message, message.c.seq == attempt.c.message_seq)
        .where(message.c.seq.in_(seqs), attempt.c.number == message.c.attempts)
    )
    return {row["message_seq"]: cast("AttemptRow", row) for row in connection.execute(query).mappings()}


def _messages(connection: Connection, query: Select[tuple[object, ...]]) -> list[MessageRow]:
    return [cast("MessageRow", row) for row in connection.execute(query).mappings()]
