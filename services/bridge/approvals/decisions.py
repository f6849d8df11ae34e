"""Closing a question: by compare-and-set, with all that follows in the same transaction.

What follows is stored with it: the edits of the question in every chat, and the call that tells
the asking program. A crash leaves either all of it or none.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, select, update

from services.bridge import bot_messages
from services.bridge.approvals import approval as domain
from services.bridge.approvals import question_text, store, view
from services.bridge.approvals.approval import Approval, Outcome, State, Via, Who
from services.bridge.approvals.schema import approval, approval_answer, approval_message
from services.bridge.bot_messages import About, Recipient, Said
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.store import NewCall
from services.contracts.fields import Severity
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.chats import locks
from services.outbox.intake import cancel_replay, enqueue
from services.outbox.messages import Submission

WEBHOOK_KIND = "approval"


MOST_OVERDUE = 100


@dataclass(frozen=True, slots=True)
class Changed:
    """What a transaction did, for those to be told after its commit."""

    approval: Approval
    outcome: Outcome
    #: Stored in the same transaction, to be counted and traced.
    submissions: tuple[Submission, ...] = ()
    #: Whether it was this transaction that closed the question.
    closed_now: bool = False


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
        .where(store.OPEN, approval.c.expires_at <= now)
        .order_by(approval.c.expires_at)
        .limit(MOST_OVERDUE)
        .with_for_update(skip_locked=True)
    ).all()
    _hold_chats(connection, [row.id for row in overdue])
    changed = []
    for row in overdue:
        expired = replace(store.read_row(row), state=State.EXPIRED, closed_at=now)
        if _close(connection, expired):
            changed.append(Changed(expired, Outcome.EXPIRED, _follow(connection, expired, now, None), True))
    return changed


def _hold_chats(connection: Connection, approval_ids: Sequence[str]) -> None:
    """Of several questions: the chats of all are taken in one order, before anything of one is changed."""
    of = (
        select(approval.c.bot, approval_message.c.chat_id)
        .join(approval_message, approval_message.c.approval_id == approval.c.id)
        .where(approval.c.id.in_(approval_ids))
    )
    locks.hold(connection, [(row.bot, row.chat_id) for row in connection.execute(of)])


def _close(connection: Connection, wanted: Approval) -> bool:
    """The compare-and-set: an open question is closed once, by whoever comes first."""
    in_time = () if wanted.state is State.EXPIRED else (approval.c.expires_at > wanted.closed_at,)
    done = connection.execute(
        update(approval)
        .where(approval.c.id == wanted.id, store.OPEN, *in_time)
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
    found = store.by_id(connection, approval_id)
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
    # A question that has not left yet need not be shown any more.
    cause = f"the question was {closed.state.value} before it was sent"
    cancel_replay.take_back(connection, [row.message_id for row in shown], cause, now)
    submissions = []
    of_question = question_text.verdict(closed, store.shown(connection, closed))
    for kind, words in (("question", of_question), ("again", question_text.verdict_of_again(closed))):
        to = [
            Recipient(row.chat_id, row.thread_id, edits=row.message_id) for row in shown if row.kind == kind
        ]
        if to:
            submissions.append(_say(closed, words, to, "user_response", now))
    for submission in submissions:
        store.add_messages(connection, closed.id, submission.messages[0], "verdict")
    enqueue.insert(connection, submissions, now)
    if closed.callback_url:
        body = view.result(closed).model_dump_json()
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
    return bot_messages.submission(words, to, belongs, about.trace.child(), bot=about.bot, now=now)
