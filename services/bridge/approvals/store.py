"""Questions in the database: changed by compare-and-set, with all that follows in the same transaction.

What follows a change is stored with it: the edits of the question in every chat, and the call
that tells the asking program. A crash leaves either all of it or none.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
from sqlalchemy import Connection, func, insert, literal_column, select, update
from sqlalchemy import Row as SqlRow

from services.bridge import said
from services.bridge.approvals import approval as domain
from services.bridge.approvals import wording
from services.bridge.approvals.approval import TAP_LIFE_SECONDS, Approval, Option, Outcome, State, Via, Who
from services.bridge.approvals.schema import approval, approval_answer, approval_message
from services.bridge.said import About, Recipient, Said
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.store import NewCall
from services.contracts.events import Severity
from services.kit.clock import rfc3339
from services.kit.db import upsert
from services.kit.errors import Problem
from services.kit.telemetry import TraceContext
from services.outbox import chats, intake
from services.outbox.messages import WAITING, IdempotencyKey, NewEvent, NewMessage, Reason, Submission
from services.outbox.messages import State as MessageState
from services.outbox.schema import idempotency, message

_CHANNELS = 64
WEBHOOK_KIND = "approval"
MOST_OVERDUE = 100


def channel(approval_id: str) -> str:
    """Whose waiters have news of a question; shared by some, so that their number is bounded."""
    return f"approval-{int.from_bytes(hashlib.blake2s(approval_id.encode()).digest()[:2]) % _CHANNELS}"


@dataclass(frozen=True, slots=True)
class Changed:
    """What a transaction did, for those to be told after its commit."""

    approval: Approval
    outcome: Outcome
    #: Stored in the same transaction, to be counted and traced.
    submissions: tuple[Submission, ...] = ()
    #: Whether it was this transaction that closed the question.
    closed_now: bool = False


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


def ask(connection: Connection, asked: Approval, to: Sequence[Recipient], now: float) -> Submission:
    """Writes a question and its messages."""
    connection.execute(insert(approval).values(**_row(asked)))
    about = About(
        "approval_request", asked.title, asked.correlation_id, None, asked.source, Severity(asked.severity)
    )
    event, messages = said.event(wording.question(asked), to, about, asked.trace, bot=asked.bot, now=now)
    event = replace(event, id=asked.event_id)
    _add_messages(connection, asked.id, messages, "question")
    submission = Submission((event,), (messages,))
    intake.insert(connection, [submission], now)
    return submission


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


def _read(row: SqlRow[Any]) -> Approval:
    trace = TraceContext.parse(row.traceparent)
    assert trace is not None, row.traceparent  # noqa: S101 - we wrote it ourselves
    closed = row.closed_by is not None
    return Approval(
        id=row.id,
        code=row.code,
        token=row.token,
        title=row.title,
        prompt=row.prompt,
        options=tuple(Option(value, label) for value, label in orjson.loads(row.options)),
        approvers=tuple(orjson.loads(row.approvers)),
        bot=row.bot,
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


def _add_messages(
    connection: Connection, approval_id: str, messages: Sequence[NewMessage], kind: str
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
    return None if row is None else _read(row)


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


def answer(
    connection: Connection,
    asked: Approval,
    who: Who,
    via: Via,
    chosen: int | None,
    *,
    now: float,
    comment: str = "",
    trace: TraceContext | None = None,
) -> Changed:
    """Somebody answers; the first who may decides. Whatever it comes to is recorded.

    Args:
        connection: in a transaction.
        asked: the question as it was read.
        who: answers.
        via: how.
        chosen: index of the option; None where what was said is no option.
        now: seconds since the epoch.
        comment: shown with the decision.
        trace: the span of the answer, handed on to the asking program.
    """
    outcome = domain.outcome(asked, who, chosen, now)
    submissions: tuple[Submission, ...] = ()
    closed_now = False
    if outcome is Outcome.DECIDED:
        decided = replace(
            asked, state=State.DECIDED, closed_at=now, chosen=chosen, closed_by=who, via=via, comment=comment
        )
        closed_now = _close(connection, decided)
        if closed_now:
            asked, submissions = decided, _follow(connection, decided, now, trace)
        else:
            asked = _again(connection, asked.id)
            outcome = domain.outcome(asked, who, chosen, now)
    _record(connection, asked, who, via, chosen, outcome, now)
    return Changed(asked, outcome, submissions, closed_now)


def cancel(
    connection: Connection, asked: Approval, who: Who, *, reason: str, now: float, trace: TraceContext | None
) -> Changed:
    """Takes a question back, unless it is closed already."""
    cancelled = replace(
        asked, state=State.CANCELLED, closed_at=now, closed_by=who, via=Via.API, comment=reason
    )
    if _close(connection, cancelled):
        return Changed(cancelled, Outcome.CANCELLED, _follow(connection, cancelled, now, trace), True)
    found = _again(connection, asked.id)
    return Changed(found, domain.outcome(found, who, 0, now))


def expire(connection: Connection, now: float) -> list[Changed]:
    """Closes what nobody answered in time."""
    overdue = connection.execute(
        select(approval)
        .where(_OPEN, approval.c.expires_at <= now)
        .order_by(approval.c.expires_at)
        .limit(MOST_OVERDUE)
        .with_for_update(skip_locked=True)
    ).all()
    changed = []
    for row in overdue:
        expired = replace(_read(row), state=State.EXPIRED, closed_at=now)
        if _close(connection, expired):
            changed.append(Changed(expired, Outcome.EXPIRED, _follow(connection, expired, now, None), True))
    return changed


# As a literal: neither database uses a partial index for a parameter it cannot see.
_OPEN = approval.c.state == literal_column("'open'")


def _close(connection: Connection, wanted: Approval) -> bool:
    """The compare-and-set: an open question is closed once, by whoever comes first."""
    in_time = () if wanted.state is State.EXPIRED else (approval.c.expires_at > wanted.closed_at,)
    done = connection.execute(
        update(approval)
        .where(approval.c.id == wanted.id, _OPEN, *in_time)
        .values(
            state=wanted.state.value,
            closed_at=wanted.closed_at,
            chosen=wanted.chosen,
            closed_by=wanted.closed_by.name if wanted.closed_by else None,
            closed_by_id=wanted.closed_by.user_id if wanted.closed_by else None,
            via=wanted.via.value if wanted.via else None,
            comment=wanted.comment,
        )
    )
    return done.rowcount == 1


def _again(connection: Connection, approval_id: str) -> Approval:
    found = by_id(connection, approval_id)
    assert found is not None, approval_id  # noqa: S101 - questions are not deleted while they are answered
    return found


def _record(  # noqa: PLR0917 - the columns of a row
    connection: Connection,
    asked: Approval,
    who: Who,
    via: Via,
    chosen: int | None,
    outcome: Outcome,
    now: float,
) -> None:
    known = chosen is not None and 0 <= chosen < len(asked.options)
    connection.execute(
        insert(approval_answer).values(
            approval_id=asked.id,
            at=now,
            via=via.value,
            user_id=who.user_id,
            name=who.name,
            option=asked.options[chosen].value if known and chosen is not None else None,
            outcome=outcome.value,
        )
    )


def _follow(
    connection: Connection, closed: Approval, now: float, trace: TraceContext | None
) -> tuple[Submission, ...]:
    """What a closed question brings with it: its messages are edited, its asker is told."""
    shown = connection.execute(
        select(approval_message).where(approval_message.c.approval_id == closed.id, _IS_SHOWN)
    ).all()
    _take_back(connection, [row.message_id for row in shown], closed, now)
    submissions = []
    for kind, words in (("question", wording.verdict), ("again", wording.verdict_of_again)):
        to = [
            Recipient(row.chat_id, row.thread_id, edits=row.message_id) for row in shown if row.kind == kind
        ]
        if to:
            submissions.append(_say(closed, words(closed), to, "user_response", now))
    for submission in submissions:
        _add_messages(connection, closed.id, submission.messages[0], "verdict")
    intake.insert(connection, submissions, now)
    if closed.callback_url:
        body = orjson.dumps(result(closed)).decode()
        webhooks.add(
            connection,
            [NewCall(WEBHOOK_KIND, closed.id, closed.callback_url, body, trace or closed.trace)],
            now,
        )
    return tuple(submissions)


_IS_SHOWN = approval_message.c.kind != "verdict"


def _say(about: Approval, words: Said, to: Sequence[Recipient], kind: str, now: float) -> Submission:
    belongs = About(
        kind, about.title, about.correlation_id, about.trace, about.source, Severity(about.severity)
    )
    return said.submission(words, to, belongs, about.trace.child(), bot=about.bot, now=now)


def _take_back(connection: Connection, message_ids: Sequence[str], closed: Approval, now: float) -> None:
    """A question that has not left yet need not be shown any more."""
    waiting = connection.execute(
        select(message.c.seq)
        .where(
            message.c.id.in_(message_ids),
            message.c.state.in_([s.value for s in WAITING]),
            message.c.part == 0,
        )
        .order_by(message.c.seq)
        .with_for_update()
    ).scalars()
    cause = f"the question was {closed.state.value} before it was sent"
    chats.finish(connection, list(waiting), MessageState.CANCELLED, Reason.NONE, cause=cause, now=now)


def result(closed: Approval) -> dict[str, Any]:
    """What the asking program is told."""
    return {
        "type": f"approval.{closed.state.value}",
        "timestamp": rfc3339(closed.closed_at or closed.expires_at),
        "data": {
            "id": closed.id,
            "status": closed.state.value,
            "title": closed.title,
            "correlation_id": closed.correlation_id,
            "event_id": closed.event_id,
            "decision": decision(closed),
            "reason": closed.comment if closed.state is State.CANCELLED else None,
            "metadata": closed.metadata,
        },
    }


def decision(closed: Approval) -> dict[str, Any] | None:
    """Who chose what; None where nobody did."""
    if closed.choice is None or closed.closed_by is None or closed.via is None:
        return None
    return {
        "option": closed.choice.value,
        "label": closed.choice.label,
        "by": closed.closed_by.name,
        "user_id": closed.closed_by.user_id,
        "via": closed.via.value,
        "comment": closed.comment,
    }


def ask_again(connection: Connection, bot: str, since: float, now: float) -> list[Submission]:
    """Every open question once more whose taps may be lost; younger taps Telegram still has.

    Args:
        connection: in a transaction.
        bot: which was deaf.
        since: when Telegram was last heard of.
        now: seconds since the epoch.
    """
    rows = connection.execute(
        select(approval).where(_OPEN, approval.c.bot == bot, approval.c.expires_at > now)
    ).all()
    submissions = [_repeat(connection, _read(row), since, now) for row in rows]
    made = [submission for submission in submissions if submission.events]
    intake.insert(connection, made, now)
    return made


def _repeat(connection: Connection, asked: Approval, since: float, now: float) -> Submission:
    shown = connection.execute(
        select(approval_message, message.c.telegram_message_ids)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(
            approval_message.c.approval_id == asked.id,
            approval_message.c.kind == "question",
            message.c.state == MessageState.DELIVERED.value,
            message.c.finished_at < now - TAP_LIFE_SECONDS,
        )
    ).all()
    events: list[NewEvent] = []
    messages: list[tuple[NewMessage, ...]] = []
    about = About(
        "approval_request",
        asked.title,
        asked.correlation_id,
        asked.trace,
        asked.source,
        Severity(asked.severity),
    )
    for row in shown:
        words = wording.again(asked, since, now, int(row.telegram_message_ids.rpartition(",")[2]))
        to = [Recipient(row.chat_id, row.thread_id, expires_at=asked.expires_at)]
        event, sent = said.event(words, to, about, asked.trace.child(), bot=asked.bot, now=now)
        events.append(event)
        messages.append(sent)
        _add_messages(connection, asked.id, sent, "again")
    return Submission(tuple(events), tuple(messages))


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
    before: int | None,
    limit: int,
) -> list[tuple[int, Approval]]:
    """Questions, newest first, each with its number for the next page."""
    query = select(approval)
    if state is not None:
        query = query.where(approval.c.state == state)
    if correlation_id is not None:
        query = query.where(approval.c.correlation_id == correlation_id)
    if before is not None:
        query = query.where(approval.c.seq < before)
    rows = connection.execute(query.order_by(approval.c.seq.desc()).limit(limit))
    return [(row.seq, _read(row)) for row in rows]


def count_open(connection: Connection) -> int:
    found: int = connection.execute(select(func.count()).select_from(approval).where(_OPEN)).scalar_one()
    return found
