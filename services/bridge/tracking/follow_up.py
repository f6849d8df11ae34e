"""Follow-ups: the message that edits or deletes an earlier one, stored behind it in its chat's queue."""

from dataclasses import dataclass
from typing import Any

import uuid_utils
from sqlalchemy import Connection

from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, Lane, MessageRecord, Origin, Submission


@dataclass(frozen=True, slots=True)
class By:
    """Who follows up: the name of an API key, and the span of the request."""

    client: str
    span: TraceContext


def store(
    connection: Connection,
    row: Any,
    by: By,
    now: float,
    *,
    title: str,
    body: str,
    callback_url: str | None = None,
    origin: Origin = Origin.CLIENT,
) -> Submission:
    """Stores an event whose message follows up on an earlier one.

    Args:
        connection: in a transaction.
        row: the earlier message with its event.
        by: who follows up.
        now: seconds since the epoch.
        title: of the new event.
        body: of the new event.
        callback_url: of the new event.
        origin: of the new event.
    """
    made = EventRecord(
        id=str(uuid_utils.uuid7()),
        type=row.type,
        category=row.category,
        title=title,
        source=row.source,
        severity=row.severity,
        body=body,
        accepted_at=now,
        trace=by.span,
        parent=TraceContext.parse(str(row.traceparent)),
        correlation_id=row.correlation_id,
        client=by.client,
        callback_url=callback_url,
        origin=origin,
    )
    later = MessageRecord(
        id=str(uuid_utils.uuid7()),
        chat_id=row.chat_id,
        thread_id=row.thread_id,
        lane=Lane(row.lane),
        silent=True,
        bot=row.bot,
        edits=row.id,
    )
    stored = Submission((made,), ((later,),))
    enqueue.insert(connection, [stored], now)
    return stored
