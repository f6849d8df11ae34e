"""Approvals in the database: stores, finds and deletes them. ``decisions`` and ``expiry`` close them."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import orjson
from sqlalchemy import Connection, delete, insert, literal_column, select
from sqlalchemy import Row as SqlRow

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals.approval import Actor, AnswerVia, Approval, ApprovalState, Option
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_answer, approval_message
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.contracts.fields import Severity
from services.contracts.stored import json_of
from services.kit.database.connect import upsert
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import IdempotencyKey, MessageRecord, Submission, Text
from services.outbox.schema import event as event_table
from services.outbox.schema import idempotency

T = TypeVar("T", list[Any], dict[str, Any])
_CHANNELS = 64
# A literal: neither database uses a partial index for a parameter, whose value it does not know.
IS_OPEN = approval_table.c.state == literal_column("'open'")
#: Messages that show the question, first or again; the others show its result.
ASKS = approval_message.c.kind != "verdict"


def channel(approval_id: str) -> str:
    """The channel that notifies requests which wait for an approval; one of 64, shared by several."""
    return f"approval-{int.from_bytes(hashlib.blake2s(approval_id.encode()).digest()[:2]) % _CHANNELS}"


def with_new_code(connection: Connection, approval: Approval) -> Approval:
    """The approval with a code that no other has."""
    while True:
        code = domain.new_code()
        if not codes_exist(connection, [code]):
            return replace(approval, code=code)


def codes_exist(connection: Connection, codes: Sequence[str]) -> bool:
    """Whether an approval has one of the codes."""
    query = select(approval_table.c.seq).where(approval_table.c.code.in_(codes)).limit(1)
    return connection.execute(query).scalar() is not None


def claim_key(connection: Connection, key: IdempotencyKey, now: float) -> str | None:
    """Claims an idempotency key; returns the first answer if the key was used with the same body before.

    Raises:
        Problem: 422, the key was used with another body.
    """
    claim = upsert(connection, idempotency).values(
        client=key.client,
        key=key.key,
        body_hash=key.body_hash,
        answer=key.answer,
        created_at=now,
    )
    claimed = connection.execute(claim.on_conflict_do_nothing().returning(idempotency.c.key)).scalar()
    if claimed is not None:
        return None
    known = select(idempotency).where(idempotency.c.client == key.client, idempotency.c.key == key.key)
    earlier = connection.execute(known).one()
    if earlier.body_hash != key.body_hash:
        raise Problem(422, "Idempotency-Key reused", "This Idempotency-Key was used with another body.")
    return str(earlier.answer)


def create(
    connection: Connection, approval: Approval, question: BotMessage, to: Sequence[Recipient], now: float
) -> Submission:
    """Stores an approval with the event and the messages that show its question."""
    info = EventInfo(
        "approval_request",
        approval.title,
        approval.correlation_id,
        None,
        approval.source,
        Severity(approval.severity),
        approval.client,
    )
    event, messages = bot_messages.new_event(question, to, info, approval.trace, bot=approval.bot, now=now)
    event = replace(event, id=approval.event_id)
    add(connection, approval, messages)
    submission = Submission((event,), (messages,))
    enqueue.insert(connection, [submission], now)
    return submission


def add(connection: Connection, approval: Approval, messages: Sequence[MessageRecord]) -> None:
    """Stores an approval and which messages show its question; the caller stores the messages."""
    connection.execute(insert(approval_table).values(**_to_row(approval)))
    add_messages(connection, approval.id, messages, "question")


def add_messages(
    connection: Connection, approval_id: str, messages: Sequence[MessageRecord], kind: str
) -> None:
    """Stores which messages show an approval, and what they show: ``question``, ``again`` or ``verdict``."""
    connection.execute(
        insert(approval_message),
        [
            {
                "message_id": one.id,
                "approval_id": approval_id,
                "chat_id": one.chat_id,
                "thread_id": one.thread_id,
                "kind": kind,
            }
            for one in messages
        ],
    )


def _to_row(a: Approval) -> dict[str, Any]:
    return {
        "id": a.id,
        "code": a.code,
        "token": a.token,
        "state": a.state.value,
        "title": a.title,
        "prompt": a.prompt,
        "options": orjson.dumps([[option.value, option.label] for option in a.options]).decode(),
        "approvers": orjson.dumps(list(a.approvers)).decode(),
        "bot": a.bot,
        "client": a.client,
        "source": a.source,
        "severity": a.severity,
        "correlation_id": a.correlation_id,
        "event_id": a.event_id,
        "traceparent": a.trace.header(),
        "callback_url": a.callback_url,
        "metadata": None if a.metadata is None else orjson.dumps(a.metadata).decode(),
        "created_at": a.created_at,
        "expires_at": a.expires_at,
    }


def from_row(row: SqlRow[Any]) -> Approval:
    """The approval of a row of its table. Odd values are left out: one row must fail no list and no batch."""
    trace = TraceContext.parse(str(row.traceparent)) or _NO_TRACE
    closed = row.closed_by is not None
    options = read_options(row.options)
    return Approval(
        id=row.id,
        code=row.code,
        token=row.token,
        title=row.title,
        prompt=row.prompt,
        options=options,
        approvers=read_approvers(row.approvers),
        bot=row.bot,
        client=row.client,
        source=row.source,
        severity=row.severity,
        correlation_id=row.correlation_id,
        event_id=row.event_id,
        trace=trace,
        created_at=row.created_at,
        expires_at=row.expires_at,
        callback_url=row.callback_url,
        metadata=None if row.metadata is None else _json(row.metadata, dict),
        state=_STATES.get(row.state, ApprovalState.CANCELLED),
        closed_at=row.closed_at,
        chosen=row.chosen if row.chosen in range(len(options)) else None,
        closed_by=Actor(row.closed_by, row.closed_by_id) if closed else None,
        via=_VIA.get(row.via),
        comment=row.comment,
        undelivered_at=row.undelivered_at,
    )


def read_options(stored: str) -> tuple[Option, ...]:
    """The options of an approval from its column; those that are none are left out."""
    return tuple(
        Option(str(one[0]), str(one[1]))
        for one in _json(stored, list)
        if isinstance(one, list) and len(one) == 2  # noqa: PLR2004 - a value and a label
    )


def read_approvers(stored: str) -> tuple[int, ...]:
    """The approvers of an approval from its column."""
    return tuple(one for one in _json(stored, list) if isinstance(one, int))


def _json(stored: str, kind: type[T]) -> T:
    """JSON of a column; empty where it is none of this kind."""
    found = json_of(stored)
    return found if isinstance(found, kind) else kind()


_NO_TRACE = TraceContext(0, 0, sampled=False)
_STATES = {state.value: state for state in ApprovalState}
_VIA = {via.value: via for via in AnswerVia}


def _find(connection: Connection, condition: Any) -> Approval | None:
    row = connection.execute(select(approval_table).where(condition)).one_or_none()
    return None if row is None else from_row(row)


def by_id(connection: Connection, approval_id: str) -> Approval | None:
    return _find(connection, approval_table.c.id == approval_id)


def by_token(connection: Connection, token: str) -> Approval | None:
    return _find(connection, approval_table.c.token == token)


def by_code(connection: Connection, code: str) -> Approval | None:
    return _find(connection, approval_table.c.code == code.upper())


def by_message(connection: Connection, message_id: str) -> Approval | None:
    """The approval that a message shows."""
    of = select(approval_message.c.approval_id).where(approval_message.c.message_id == message_id)
    return _find(connection, approval_table.c.id == of.scalar_subquery())


def question_shown(connection: Connection, approval: Approval) -> Text | None:
    """The text above the buttons in the chats; None if its event is no longer stored."""
    query = select(event_table.c.body).where(event_table.c.id == approval.event_id)
    body = connection.execute(query).scalar()
    last = bot_messages.read_body(body).parts[-1] if body else None
    return last if isinstance(last, Text) else None


def delete_closed(connection: Connection, before: float, most: int) -> int:
    """Deletes up to ``most`` approvals closed before a time, and their answers; returns how many."""
    closed = select(approval_table.c.id).where(approval_table.c.closed_at < before)
    ids = connection.execute(closed.order_by(approval_table.c.closed_at).limit(most)).scalars().all()
    for table in (approval_answer, approval_message):
        connection.execute(delete(table).where(table.c.approval_id.in_(ids)))
    connection.execute(delete(approval_table).where(approval_table.c.id.in_(ids)))
    return len(ids)
