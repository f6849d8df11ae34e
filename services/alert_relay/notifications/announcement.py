"""Enqueues messages that are about no single incident: the end of a maintenance window, the weekly digest."""

from collections.abc import Sequence

from sqlalchemy import Connection
from uuid_utils import uuid7

from services.alert_relay.notifications import bot_answer
from services.alert_relay.notifications.store import BOT, CATEGORY, EVENT_TYPE
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, Origin, Submission, Text


def announce(
    connection: Connection,
    title: str,
    text: Text,
    chat_ids: Sequence[int],
    *,
    trace: TraceContext,
    silent: bool = False,
    now: float,
) -> Submission:
    """Enqueues one message to each chat.

    Args:
        connection: in a transaction.
        title: for lists of messages.
        text: of the message.
        chat_ids: of the chats.
        trace: that the messages belong to.
        silent: whether it makes no sound.
        now: seconds since the epoch.
    """
    event_id = str(uuid7())
    event = EventRecord(
        id=event_id,
        type=EVENT_TYPE,
        category=CATEGORY,
        title=title,
        source="alert-relay",
        severity="",
        body=bot_answer.to_json(text),
        accepted_at=now,
        trace=trace,
        correlation_id=event_id,
        client="alert-relay",
        origin=Origin.BOT,
    )
    messages = tuple(MessageRecord(str(uuid7()), chat_id, silent=silent, bot=BOT) for chat_id in chat_ids)
    submission = Submission((event,), (messages,))
    enqueue.insert(connection, [submission], now)
    return submission
