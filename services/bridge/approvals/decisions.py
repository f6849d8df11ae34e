"""Decisions: an answer or a cancellation closes an approval, by compare-and-set.

What follows is stored in the same transaction: the edits of the question in every chat, and the call
of the callback. After a crash all of it is there, or nothing.
"""

from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, update

from services.bridge.approvals import approval as domain
from services.bridge.approvals import question_text, shown_messages, store, view, votes
from services.bridge.approvals.approval import (
    Actor,
    AnswerOutcome,
    AnswerVia,
    Approval,
    ApprovalState,
    Given,
    Vote,
)
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_answer
from services.bridge.tracking import approval_changes
from services.bridge.webhooks import store as webhooks
from services.bridge.webhooks.store import NewCall
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.messages import Submission

WEBHOOK_KIND = "approval"


@dataclass(frozen=True, slots=True)
class ApprovalChange:
    """The result of an answer, a cancellation or an expiry.

    Args:
        approval: as it is after the transaction.
        outcome: of the answer; of a cancellation or an expiry, how the approval is closed.
        submissions: stored in the same transaction; pass them to the engine after the commit.
        closed_now: this transaction closed the approval, no earlier one.
    """

    approval: Approval
    outcome: AnswerOutcome
    submissions: tuple[Submission, ...] = ()
    closed_now: bool = False


def answer(
    connection: Connection,
    approval: Approval,
    actor: Actor,
    via: AnswerVia,
    given: Given,
    *,
    now: float,
    comment: str = "",
    trace: TraceContext | None = None,
) -> ApprovalChange:
    """Answers an approval. Every answer is recorded with its outcome.

    The first valid answer decides; the first option needs as many different people as ``needed`` says.

    Args:
        connection: in a transaction.
        approval: as it was read.
        actor: who answers.
        via: the way the answer arrived.
        given: the answer.
        now: seconds since the epoch.
        comment: shown with the decision.
        trace: the span of the answer, passed on to the callback.
    """
    if approval.needed > 1:
        approval = store.lock(connection, approval)
    outcome = domain.answer_outcome(approval, actor, given, now)
    if (
        approval.needed > 1
        and given.option == 0
        and outcome in (AnswerOutcome.COUNTED, AnswerOutcome.DECIDED)
    ):
        approval = votes.add(connection, approval, Vote(actor, via, now))
    change = ApprovalChange(approval, outcome)
    if outcome is AnswerOutcome.COUNTED:
        change = replace(change, submissions=votes.show(connection, approval, now))
    if outcome is AnswerOutcome.DECIDED:
        decided = replace(
            approval,
            state=ApprovalState.DECIDED,
            closed_at=now,
            chosen=given.option,
            answer_text=given.text,
            closed_by=actor,
            via=via,
            comment=comment,
        )
        change = close(connection, decided, outcome, now=now, trace=trace) or _closed_before(
            connection, approval, actor, given, now
        )
    _record_answer(connection, change, actor, via, given, now)
    return change


def cancel(
    connection: Connection,
    approval: Approval,
    actor: Actor,
    *,
    reason: str,
    now: float,
    trace: TraceContext | None,
) -> ApprovalChange:
    """Cancels an approval, unless it is closed already."""
    cancelled = replace(
        approval,
        state=ApprovalState.CANCELLED,
        closed_at=now,
        closed_by=actor,
        via=AnswerVia.API,
        comment=reason,
    )
    closed = close(connection, cancelled, AnswerOutcome.CANCELLED, now=now, trace=trace)
    return closed or _closed_before(connection, approval, actor, Given(), now)


def close(
    connection: Connection,
    closed: Approval,
    outcome: AnswerOutcome,
    *,
    now: float,
    trace: TraceContext | None = None,
) -> ApprovalChange | None:
    """Closes an open approval and stores what follows; None if it is closed already.

    Args:
        connection: in a transaction.
        closed: the approval as it is to be stored.
        outcome: for the result.
        now: seconds since the epoch.
        trace: the span that closes it, passed on to the callback.
    """
    if not _compare_and_set(connection, closed):
        return None
    return ApprovalChange(closed, outcome, _store_consequences(connection, closed, now, trace), True)


def _compare_and_set(connection: Connection, closed: Approval) -> bool:
    in_time = (
        () if closed.state is ApprovalState.EXPIRED else (approval_table.c.expires_at > closed.closed_at,)
    )
    done = connection.execute(
        update(approval_table)
        .where(approval_table.c.id == closed.id, store.IS_OPEN, *in_time)
        .values(
            state=closed.state.value,
            closed_at=closed.closed_at,
            chosen=closed.chosen,
            answer_text=closed.answer_text,
            closed_by=closed.closed_by.name if closed.closed_by else None,
            closed_by_id=closed.closed_by.user_id if closed.closed_by else None,
            via=closed.via.value if closed.via else None,
            comment=closed.comment,
        )
    )
    return done.rowcount == 1


def _closed_before(
    connection: Connection, approval: Approval, actor: Actor, given: Given, now: float
) -> ApprovalChange:
    """The result when another transaction has closed the approval: its row is read again."""
    found = store.by_id(connection, approval.id)
    assert found is not None, approval.id  # noqa: S101 - approvals are deleted long after they are closed
    return ApprovalChange(found, domain.answer_outcome(found, actor, given, now))


def _record_answer(  # noqa: PLR0917 - the columns of a row
    connection: Connection,
    change: ApprovalChange,
    actor: Actor,
    via: AnswerVia,
    given: Given,
    now: float,
) -> None:
    options, chosen = change.approval.options, given.option
    known = chosen is not None and 0 <= chosen < len(options)
    connection.execute(
        insert(approval_answer).values(
            approval_id=change.approval.id,
            at=now,
            via=via.value,
            user_id=actor.user_id,
            name=actor.name,
            option=options[chosen].value if known and chosen is not None else None,
            outcome=change.outcome.value,
            text=given.text,
        )
    )


def _store_consequences(
    connection: Connection, closed: Approval, now: float, trace: TraceContext | None
) -> tuple[Submission, ...]:
    """Stores the edits of the messages that show the question, and the call of the callback."""
    shown = shown_messages.of(connection, closed.id)
    cause = f"the question was {closed.state.value} before it was sent"
    shown_messages.cancel_waiting(connection, closed.id, cause, now)
    worded = store.in_zone_of_its_chats(connection, closed)
    submissions = shown_messages.edit(
        connection,
        closed,
        shown,
        {
            "question": question_text.verdict(worded, store.question_shown(connection, closed)),
            "again": question_text.verdict_of_repeated(worded),
        },
        kind="verdict",
        now=now,
    )
    if shown:
        approval_changes.write(connection, shown[0].message_id, closed.id, closed.status, now)
    if closed.callback_url:
        body = view.approval_result(closed).model_dump_json()
        call = NewCall(WEBHOOK_KIND, closed.id, closed.callback_url, body, trace or closed.trace)
        webhooks.add(connection, [call], now)
    return submissions
