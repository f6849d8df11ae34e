"""Votes: the answers for the first option of an approval that needs several people.

The caller has locked the approval, so that no vote is lost.
"""

from sqlalchemy import Connection, update

from services.bridge.approvals import approval as domain
from services.bridge.approvals import approval_rows, question_text, shown_messages, store
from services.bridge.approvals.approval import Approval, Vote
from services.bridge.approvals.schema import approval as approval_table
from services.outbox.messages import Submission


def add(connection: Connection, approval: Approval, vote: Vote) -> Approval:
    """Stores a vote for an open approval; returns the approval with it."""
    voted = domain.with_vote(approval, vote)
    connection.execute(
        update(approval_table)
        .where(approval_table.c.id == approval.id, store.IS_OPEN)
        .values(votes=approval_rows.write_votes(voted.votes))
    )
    return voted


def show(connection: Connection, approval: Approval, now: float) -> tuple[Submission, ...]:
    """Stores edits that show in every chat who has voted; earlier ones that wait are cancelled."""
    approval = store.in_zone_of_its_chats(connection, approval)
    cause = "somebody else has answered meanwhile"
    shown_messages.cancel_waiting(connection, approval.id, cause, now, kind="progress")
    return shown_messages.edit(
        connection,
        approval,
        shown_messages.delivered(connection, approval.id),
        {
            "question": question_text.progress(approval, store.question_shown(connection, approval)),
            "again": question_text.progress_of_repeated(approval),
        },
        kind="progress",
        now=now,
    )
