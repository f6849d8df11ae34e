"""Queries: lists of approvals, and an approval with its messages, answers and calls."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select

from services.bridge.approvals import approval_rows, store
from services.bridge.approvals.approval import UNDELIVERED, Approval, ApprovalState, OpenApproval
from services.bridge.approvals.reach import Asking, Reach, reach
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_answer, approval_message
from services.bridge.webhooks import store as webhooks
from services.outbox.messages import MessageState
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import message


@dataclass(frozen=True, slots=True)
class ApprovalDetails:
    """An approval with its reach, and the rows of its messages, answers and webhook calls."""

    approval: Approval
    reach: Reach
    messages: list[Any]
    answers: list[Any]
    calls: list[Any]


def details(connection: Connection, approval_id: str) -> ApprovalDetails | None:
    """An approval with its messages, answers and calls; None if no approval has this id."""
    found = store.by_id(connection, approval_id)
    if found is None:
        return None
    messages = (
        select(approval_message, message.c.state, message.c.reason)
        .outerjoin(message, message.c.id == approval_message.c.message_id)
        .where(approval_message.c.approval_id == approval_id)
        .order_by(approval_message.c.message_id)
    )
    answers = select(approval_answer).where(approval_answer.c.approval_id == approval_id)
    return ApprovalDetails(
        found,
        reaches(connection, [approval_id])[approval_id],
        list(connection.execute(messages).mappings()),
        list(connection.execute(answers.order_by(approval_answer.c.id)).mappings()),
        webhooks.of_subject(connection, approval_id),
    )


def reaches(connection: Connection, approval_ids: Collection[str]) -> dict[str, Reach]:
    """The reach of each approval, by its id."""
    query = (
        select(
            approval_message.c.approval_id,
            # A group's message moves with it to the supergroup.
            func.coalesce(message.c.chat_id, approval_message.c.chat_id).label("chat_id"),
            message.c.state,
            message.c.possible_duplicate,
            message.c.reason,
        )
        .outerjoin(message, message.c.id == approval_message.c.message_id)
        .where(approval_message.c.approval_id.in_(approval_ids), store.ASKS)
    )
    asking: dict[str, list[Asking]] = {approval_id: [] for approval_id in approval_ids}
    for row in connection.execute(query):
        state = _STATES.get(row.state)
        asking[row.approval_id].append(
            Asking(row.chat_id, state, bool(row.possible_duplicate), row.reason or "none")
        )
    return {approval_id: reach(messages) for approval_id, messages in asking.items()}


#: A message that was archived has no state, nor one whose row has another value.
_STATES = {state.value: state for state in MessageState}


def search(
    connection: Connection,
    *,
    state: str | None,
    correlation_id: str | None,
    bot: str | None = None,
    client: str | None = None,
    before: int | None,
    limit: int,
) -> list[tuple[int, ApprovalDetails]]:
    """Approvals that match every given value, newest first, each with its number for the next page.

    They have their reach, but no messages, answers and calls.

    Args:
        connection: for reading.
        state: as :attr:`Approval.status`; None: any; the same for the next three.
        correlation_id: of the approval.
        bot: that shows the question.
        client: name of the key that created it.
        before: only approvals with a lower number.
        limit: how many at most.
    """
    a = approval_table.c
    filters = ((a.correlation_id, correlation_id), (a.bot, bot), (a.client, client))
    conditions = [column == value for column, value in filters if value is not None]
    conditions += _in_state(state) if state is not None else ()
    if before is not None:
        conditions.append(a.seq < before)
    query = select(approval_table).where(*conditions).order_by(a.seq.desc()).limit(limit)
    rows = connection.execute(query).all()
    known = reaches(connection, [row.id for row in rows])
    return [
        (row.seq, ApprovalDetails(approval_rows.from_row(row), known[row.id], [], [], [])) for row in rows
    ]


def _in_state(status: str) -> tuple[ColumnElement[bool], ...]:
    a = approval_table.c
    if status == UNDELIVERED:
        return store.IS_OPEN, a.undelivered_at.is_not(None)
    if status == ApprovalState.OPEN.value:
        return store.IS_OPEN, a.undelivered_at.is_(None)
    return (a.state == status,)


def open_for_user(connection: Connection, bot: str, user_id: int, now: float) -> list[OpenApproval]:
    """All open approvals of a bot that a person may decide; the next to expire is first."""
    a = approval_table.c
    query = select(a.code, a.title, a.options, a.expires_at, a.approvers)
    rows = connection.execute(
        query.where(store.IS_OPEN, a.bot == bot, a.expires_at > now).order_by(a.expires_at)
    )
    return [
        OpenApproval(row.code, row.title, approval_rows.read_options(row.options), row.expires_at)
        for row in rows
        if user_id in approval_rows.read_approvers(row.approvers)
    ]


def open_texts(
    connection: Connection, bot: str, chat_id: int, user_id: int, *, before: int, now: float
) -> list[Approval]:
    """The open approvals that want a text of a person, and whose question is in a chat.

    Args:
        connection: for reading.
        bot: that asks.
        chat_id: the private chat with the person.
        user_id: the person, who may decide.
        before: Telegram's id of the person's text; a question with a higher one came after it.
        now: seconds since the epoch.
    """
    a = approval_table.c
    asked = connection.execute(
        select(approval_table, message.c.telegram_message_ids)
        .join(approval_message, approval_message.c.approval_id == a.id)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(store.IS_OPEN, a.bot == bot, a.text_limit.is_not(None), a.expires_at > now)
        .where(store.ASKS, message.c.chat_id == chat_id, message.c.state == MessageState.DELIVERED.value)
        .order_by(a.seq)
    )
    found: dict[str, Approval] = {}
    for row in asked:
        if user_id in approval_rows.read_approvers(row.approvers) and any(
            one < before for one in telegram_ids(row.telegram_message_ids)
        ):
            found[row.id] = approval_rows.from_row(row)
    return list(found.values())


def is_settled(connection: Connection, approval_id: str) -> bool:
    """Whether an approval is closed, reaches nobody, or does not exist.

    Cheap, since many requests may wait for it.
    """
    waits = (approval_table.c.id == approval_id, *_in_state(ApprovalState.OPEN.value))
    return connection.execute(select(approval_table.c.seq).where(*waits)).scalar() is None
