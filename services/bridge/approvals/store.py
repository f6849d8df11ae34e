"""Approvals in the database: stores, finds and deletes them. ``decisions`` and ``expiry`` close them."""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, delete, insert, literal_column, select

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals import approval_rows
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_answer, approval_message
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.bridge.chats import zones
from services.bridge.chats.times import common
from services.contracts.fields import Severity
from services.kit.database.connect import upsert
from services.kit.errors import Problem
from services.outbox.intake import enqueue
from services.outbox.messages import IdempotencyKey, MessageRecord, Submission, Text
from services.outbox.schema import event as event_table
from services.outbox.schema import idempotency

_CHANNELS = 64
# A literal: neither database uses a partial index for a parameter, whose value it does not know.
IS_OPEN = approval_table.c.state == literal_column("'open'")
#: Messages that show the question, first or again; the others edit it: who has answered, and the result.
ASKS = approval_message.c.kind.in_(("question", "again"))


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
    connection.execute(insert(approval_table).values(**approval_rows.to_row(approval)))
    add_messages(connection, approval.id, messages, "question")


def add_messages(
    connection: Connection, approval_id: str, messages: Sequence[MessageRecord], kind: str
) -> None:
    """Stores which messages show an approval; the kind is question, again, progress or verdict."""
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


def in_zone_of(connection: Connection, approval: Approval, chat_ids: Collection[int]) -> Approval:
    """The approval for a text that these chats show: with their time zone, or UTC if they have several."""
    found = zones.of_chats(connection, approval.bot, chat_ids)
    return replace(approval, time_zone=common(set(found.values())))


def in_zone_of_its_chats(connection: Connection, approval: Approval) -> Approval:
    """The approval for a text that all chats show which show the question."""
    query = select(approval_message.c.chat_id).where(approval_message.c.approval_id == approval.id).distinct()
    return in_zone_of(connection, approval, connection.execute(query).scalars().all())


def _find(connection: Connection, condition: Any) -> Approval | None:
    row = connection.execute(select(approval_table).where(condition)).one_or_none()
    return None if row is None else approval_rows.from_row(row)


def by_id(connection: Connection, approval_id: str) -> Approval | None:
    return _find(connection, approval_table.c.id == approval_id)


def lock(connection: Connection, approval: Approval) -> Approval:
    """The approval as it is now, and as no other transaction changes it until this one ends.

    Its approvers are those that were given.
    """
    this = select(approval_table).where(approval_table.c.id == approval.id)
    found = approval_rows.from_row(connection.execute(this.with_for_update()).one())
    return replace(found, approvers=approval.approvers)


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
