"""Queries: lists of approvals, and an approval with its messages, answers and calls."""

from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection, select

from services.bridge.approvals import store
from services.bridge.approvals.approval import Approval, OpenApproval
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_answer, approval_message
from services.bridge.webhooks import store as webhooks
from services.outbox.schema import message


@dataclass(frozen=True, slots=True)
class ApprovalDetails:
    """An approval with the rows of its messages, answers and webhook calls."""

    approval: Approval
    messages: list[Any]
    answers: list[Any]
    calls: list[Any]


def details(connection: Connection, approval_id: str) -> ApprovalDetails | None:
    """An approval with its messages, answers and calls; None if no approval has this id."""
    found = store.by_id(connection, approval_id)
    if found is None:
        return None
    messages = (
        select(approval_message, message.c.state)
        .outerjoin(message, message.c.id == approval_message.c.message_id)
        .where(approval_message.c.approval_id == approval_id)
        .order_by(approval_message.c.message_id)
    )
    answers = select(approval_answer).where(approval_answer.c.approval_id == approval_id)
    return ApprovalDetails(
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
    """Approvals that match every given value, newest first, each with its number for the next page.

    Args:
        connection: for reading.
        state: None: any; the same for the next three.
        correlation_id: of the approval.
        bot: that shows the question.
        client: name of the key that created it.
        before: only approvals with a lower number.
        limit: how many at most.
    """
    a = approval_table.c
    filters = ((a.state, state), (a.correlation_id, correlation_id), (a.bot, bot), (a.client, client))
    conditions = [column == value for column, value in filters if value is not None]
    if before is not None:
        conditions.append(a.seq < before)
    rows = connection.execute(select(approval_table).where(*conditions).order_by(a.seq.desc()).limit(limit))
    return [(row.seq, store.from_row(row)) for row in rows]


def open_for_user(connection: Connection, bot: str, user_id: int, now: float) -> list[OpenApproval]:
    """All open approvals of a bot that a person may decide; the next to expire is first."""
    a = approval_table.c
    query = select(a.code, a.title, a.options, a.expires_at, a.approvers)
    rows = connection.execute(
        query.where(store.IS_OPEN, a.bot == bot, a.expires_at > now).order_by(a.expires_at)
    )
    return [
        OpenApproval(row.code, row.title, store.read_options(row.options), row.expires_at)
        for row in rows
        if user_id in orjson.loads(row.approvers)
    ]


def is_closed(connection: Connection, approval_id: str) -> bool:
    """Whether an approval is closed, or does not exist; cheap, since many requests may wait for it."""
    query = select(approval_table.c.seq).where(approval_table.c.id == approval_id, store.IS_OPEN)
    return connection.execute(query).scalar() is None
