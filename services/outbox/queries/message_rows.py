"""Rows that the queries return, with their columns and types; a row is a mapping by column name.

Times are seconds since the epoch. The tables are in :mod:`services.outbox.schema`.
"""

import re
from typing import NotRequired, TypedDict

from services.outbox.schema import event, message
from services.outbox.telegram.values import LARGEST_ID


class MessageRow(TypedDict):
    """A message, joined with columns of its event."""

    seq: int  #: order of acceptance
    id: str
    event_id: str
    type: str  #: of the event
    bot: str
    chat_id: int
    thread_id: int | None
    lane: int
    silent: bool
    on_unknown: str
    state: str
    due_at: float  #: 0: at once; below 0: some parts are delivered; above 0: a time
    expires_at: float | None
    accepted_at: float
    replayed_at: float | None
    finished_at: float | None
    attempts: int  #: number of the last attempt
    retries: int
    resends: int
    part: int  #: parts that are delivered
    possible_duplicate: bool
    plain: bool
    telegram_message_ids: str  #: with commas; empty: none
    reason: str  #: ``none``, or why the last attempt failed or the message ended
    edits: str | None  #: id of the message that it edits
    update_key: str | None
    update_client: str | None  #: with an update key: name of the API key that it belongs to
    update_at: float | None  #: with an update key: the event's timestamp
    held: bool  #: whether ``due_at`` is the end of quiet hours
    waits_from: float | None  #: the time that it was to wait for; None: it was due at once
    category: str
    title: str
    source: str
    severity: str
    correlation_id: str
    traceparent: str
    written_at: float | None  #: when the event was handed to the database
    body: NotRequired[str]  #: of the event, as JSON; only in a timeline that was read with it
    client: NotRequired[str]  #: name of the API key that posted the event; only with ``body``


class EventRow(TypedDict):
    """An event as it was posted."""

    id: str
    type: str
    category: str
    title: str
    source: str
    severity: str
    body: str  #: JSON
    correlation_id: str
    client: str  #: name of the API key that posted it
    traceparent: str
    accepted_at: float
    written_at: float | None
    callback_url: str | None
    origin: str  #: a value of :class:`services.outbox.messages.Origin`


class AttemptRow(TypedDict):
    """One attempt to send a part of a message; what follows ``limiter_wait`` is None while it is open."""

    message_seq: int
    number: int  #: from 1
    part: int  #: from 0
    claimed_at: float
    limiter_wait: float  #: seconds that Telegram's rate limits delayed it
    started_at: float | None
    finished_at: float | None
    settled_at: float | None
    outcome: str | None
    reason: str | None
    state: str | None  #: of the message after it
    detail: str | None  #: description of the error
    telegram_message_id: int | None
    retry_after: float | None  #: seconds


class ChangeRow(TypedDict):
    """A change of a message's state that no attempt made."""

    id: int
    message_seq: int
    at: float
    state: str
    cause: str


def telegram_ids(ids: str) -> list[int]:
    """Returns Telegram's ids of a message's parts, from their column; what is no id is left out."""
    found = [int(part) for part in str(ids).split(",") if _DIGITS.fullmatch(part)]
    return [one for one in found if one <= LARGEST_ID]


#: Python refuses to read a number of very many digits; an id has 16 at most.
_DIGITS = re.compile(r"[0-9]{1,16}")


#: Columns of a :class:`MessageRow`, for a query that joins ``event``.
MESSAGE_COLUMNS = (
    message,
    event.c.category,
    event.c.title,
    event.c.source,
    event.c.severity,
    event.c.correlation_id,
    event.c.traceparent,
    event.c.written_at,
)
