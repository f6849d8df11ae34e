"""Questions in the database: asked, found, read."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, literal_column, select
from sqlalchemy import Row as SqlRow

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals.approval import Approval, Option, State, Via, Who
from services.bridge.approvals.schema import approval, approval_answer, approval_message
from services.bridge.bot_messages import About, Recipient, Said
from services.bridge.webhooks import store as webhooks
from services.contracts.fields import Severity
from services.kit.database.connect import upsert
from services.kit.errors import Problem
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.intake import enqueue
from services.outbox.messages import IdempotencyKey, MessageRecord, Submission, Text
from services.outbox.schema import event as event_table
from services.outbox.schema import idempotency, message

_CHANNELS = 64


def channel(approval_id: str) -> str:
    """Whose waiters have news of a question; shared by some, so that their number is bounded."""
    return f"approval-{int.from_bytes(hashlib.blake2s(approval_id.encode()).digest()[:2]) % _CHANNELS}"


def with_code(connection: Connection, asked: Approval) -> Approval:
    """The question with a code that no other has."""
    while True:
        code = domain.new_code()
        taken = select(approval.c.seq).where(approval.c.code == code)
        if connection.execute(taken).scalar() is None:
            return replace(asked, code=code)


def claim_key(connection: Connection, wanted: IdempotencyKey, now: float) -> str | None:
    """Takes an idempotency key; answers what was answered for it before, if it was.

    Raises:
        Problem: 422, it was used with another body.
    """
    claim = upsert(connection, idempotency).values(
        client=wanted.client,
        key=wanted.key,
        body_hash=wanted.body_hash,
        answer=wanted.answer,
        created_at=now,
    )
    won = connection.execute(claim.on_conflict_do_nothing().returning(idempotency.c.key)).scalar()
    if won is not None:
        return None
    known = select(idempotency).where(idempotency.c.client == wanted.client, idempotency.c.key == wanted.key)
    earlier = connection.execute(known).one()
    if earlier.body_hash != wanted.body_hash:
        raise Problem(422, "Idempotency-Key reused", "This Idempotency-Key was used with another body.")
    return str(earlier.answer)


def taken(connection: Connection, codes: Sequence[str]) -> bool:
    """Whether another question has one of the codes."""
    query = select(approval.c.seq).where(approval.c.code.in_(codes)).limit(1)
    return connection.execute(query).scalar() is not None


def keep(connection: Connection, asked: Approval, messages: Sequence[MessageRecord]) -> None:
    """Writes a question, with the messages that show it; they themselves are written beside it."""
    connection.execute(insert(approval).values(**_row(asked)))
    add_messages(connection, asked.id, messages, "question")


def ask(
    connection: Connection, asked: Approval, words: Said, to: Sequence[Recipient], now: float
) -> Submission:
    """Writes a question and its messages."""
    about = About(
        "approval_request",
        asked.title,
        asked.correlation_id,
        None,
        asked.source,
        Severity(asked.severity),
        asked.client,
    )
    event, messages = bot_messages.event(words, to, about, asked.trace, bot=asked.bot, now=now)
    event = replace(event, id=asked.event_id)
    keep(connection, asked, messages)
    submission = Submission((event,), (messages,))
    enqueue.insert(connection, [submission], now)
    return submission


def shown(connection: Connection, asked: Approval) -> Text | None:
    """The question as it stands in the chats, above its buttons; None where it is kept no more."""
    query = select(event_table.c.body).where(event_table.c.id == asked.event_id)
    body = connection.execute(query).scalar()
    last = bot_messages.rendered(body).parts[-1] if body else None
    return last if isinstance(last, Text) else None


def _row(a: Approval) -> dict[str, Any]:
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


def read_row(row: SqlRow[Any]) -> Approval:
    trace = TraceContext.parse(row.traceparent)
    assert trace is not None, row.traceparent  # noqa: S101 - we wrote it ourselves
    closed = row.closed_by is not None
    return Approval(
        id=row.id,
        code=row.code,
        token=row.token,
        title=row.title,
        prompt=row.prompt,
        options=_options(row.options),
        approvers=tuple(orjson.loads(row.approvers)),
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
        metadata=None if row.metadata is None else orjson.loads(row.metadata),
        state=State(row.state),
        closed_at=row.closed_at,
        chosen=row.chosen,
        closed_by=Who(row.closed_by, row.closed_by_id) if closed else None,
        via=Via(row.via) if row.via else None,
        comment=row.comment,
    )


def add_messages(
    connection: Connection, approval_id: str, messages: Sequence[MessageRecord], kind: str
) -> None:
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


def _one(connection: Connection, condition: Any) -> Approval | None:
    row = connection.execute(select(approval).where(condition)).one_or_none()
    return None if row is None else read_row(row)


def by_id(connection: Connection, approval_id: str) -> Approval | None:
    return _one(connection, approval.c.id == approval_id)


def by_token(connection: Connection, token: str) -> Approval | None:
    return _one(connection, approval.c.token == token)


def by_code(connection: Connection, code: str) -> Approval | None:
    return _one(connection, approval.c.code == code.upper())


def by_message(connection: Connection, message_id: str) -> Approval | None:
    """The question that a message shows."""
    of = select(approval_message.c.approval_id).where(approval_message.c.message_id == message_id)
    return _one(connection, approval.c.id == of.scalar_subquery())


# As a literal: neither database uses a partial index for a parameter it cannot see.
OPEN = approval.c.state == literal_column("'open'")


def is_over(connection: Connection, approval_id: str) -> bool:
    """Whether a question waits for no answer: it is closed, or there is none. Cheap: many may wait."""
    query = select(approval.c.seq).where(approval.c.id == approval_id, OPEN)
    return connection.execute(query).scalar() is None


@dataclass(frozen=True, slots=True)
class Whole:
    """A question with its messages, answers and calls, as rows."""

    approval: Approval
    messages: list[Any]
    answers: list[Any]
    calls: list[Any]


def whole(connection: Connection, approval_id: str) -> Whole | None:
    found = by_id(connection, approval_id)
    if found is None:
        return None
    messages = (
        select(approval_message, message.c.state)
        .outerjoin(message, message.c.id == approval_message.c.message_id)
        .where(approval_message.c.approval_id == approval_id)
        .order_by(approval_message.c.message_id)
    )
    answers = select(approval_answer).where(approval_answer.c.approval_id == approval_id)
    return Whole(
        found,
        list(connection.execute(messages).mappings()),
        list(connection.execute(answers.order_by(approval_answer.c.id)).mappings()),
        webhooks.of_subject(connection, approval_id),
    )


def search(
    connection: Connection,
    *,
    state: str | None,
    correlation_id: str | None,
    bot: str | None = None,
    client: str | None = None,
    before: int | None,
    limit: int,
) -> list[tuple[int, Approval]]:
    """Questions, newest first, each with its number for the next page."""
    query = select(approval)
    if state is not None:
        query = query.where(approval.c.state == state)
    if correlation_id is not None:
        query = query.where(approval.c.correlation_id == correlation_id)
    if bot is not None:
        query = query.where(approval.c.bot == bot)
    if client is not None:
        query = query.where(approval.c.client == client)
    if before is not None:
        query = query.where(approval.c.seq < before)
    rows = connection.execute(query.order_by(approval.c.seq.desc()).limit(limit))
    return [(row.seq, read_row(row)) for row in rows]


@dataclass(frozen=True, slots=True)
class Open:
    """Of an open question what a list of them needs."""

    code: str
    title: str
    options: tuple[Option, ...]
    expires_at: float


def open_for(connection: Connection, bot: str, user_id: int, now: float) -> list[Open]:
    """All questions of a bot that somebody may answer now; what ends first comes first."""
    a = approval.c
    query = select(a.code, a.title, a.options, a.expires_at, a.approvers)
    rows = connection.execute(query.where(OPEN, a.bot == bot, a.expires_at > now).order_by(a.expires_at))
    return [
        Open(row.code, row.title, _options(row.options), row.expires_at)
        for row in rows
        if user_id in orjson.loads(row.approvers)
    ]


def _options(stored: str) -> tuple[Option, ...]:
    return tuple(Option(value, label) for value, label in orjson.loads(stored))


def forget(connection: Connection, before: float, most: int) -> int:
    """Deletes a portion of the questions that were closed before a time, with what was answered."""
    closed = select(approval.c.id).where(approval.c.closed_at < before)
    ids = connection.execute(closed.order_by(approval.c.closed_at).limit(most)).scalars().all()
    for table in (approval_answer, approval_message):
        connection.execute(delete(table).where(table.c.approval_id.in_(ids)))
    connection.execute(delete(approval).where(approval.c.id.in_(ids)))
    return len(ids)
