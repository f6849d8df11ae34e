"""Reminders: open questions are asked again after a while, and escalated to other people.

A reminder repeats the question, in short, in each chat that shows it. An escalation lets more people decide,
and sends them the question. Every replica runs it; each step is taken and stored in one transaction.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from sqlalchemy import Connection, delete, insert, or_, select, update

from services.bridge import bot_messages
from services.bridge.approvals import approval_rows, question_text, store
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_message, approval_reminder
from services.bridge.bot_messages import BotMessage, EventInfo, Recipient
from services.contracts.fields import Severity
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.intake import enqueue
from services.outbox.messages import MessageState, Submission
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import message

INTERVAL_SECONDS = 1.0
#: Questions that one transaction handles at most.
BATCH = 100


@dataclass(frozen=True, slots=True)
class Plan:
    """When a question is repeated and escalated.

    Args:
        every: seconds between reminders; 0: there are none.
        times: number of reminders.
        escalate_at: seconds since the epoch; None: never.
        escalate_to: Telegram ids of the people who may decide from then on.
    """

    every: float = 0.0
    times: int = 0
    escalate_at: float | None = None
    escalate_to: tuple[int, ...] = ()


def add(connection: Connection, approval_id: str, plan: Plan, now: float) -> None:
    """Stores the plan of a new question; one without reminders and escalation is not stored."""
    if not plan.times and plan.escalate_at is None:
        return
    connection.execute(
        insert(approval_reminder).values(
            approval_id=approval_id,
            remind_every=plan.every,
            remind_left=plan.times,
            remind_at=now + plan.every if plan.times else None,
            escalate_at=plan.escalate_at,
            escalate_to=orjson.dumps(plan.escalate_to).decode(),
        )
    )


async def run(
    database: Database, clock: Clock, publish: Callable[[Sequence[Submission]], Awaitable[None]]
) -> None:
    """Sends what is due each second until cancelled.

    Args:
        database: of the bridge.
        clock: source of the time.
        publish: called after each commit with what it stored.
    """
    while True:
        with suppress_and_log("approval_reminders_failed"):
            await publish(await database.write("approval_remind", partial(send_due, now=clock.time())))
        await asyncio.sleep(INTERVAL_SECONDS)


def send_due(connection: Connection, now: float) -> list[Submission]:
    """Stores the reminders and escalations that are due; deletes the plans of closed questions."""
    due = or_(approval_reminder.c.remind_at <= now, approval_reminder.c.escalate_at <= now)
    rows = connection.execute(
        select(approval_reminder).where(due).limit(BATCH).with_for_update(skip_locked=True)
    ).all()
    sent: list[Submission] = []
    for row in rows:
        approval = store.by_id(connection, row.approval_id)
        if approval is None or approval.closed_at is not None or approval.expires_at <= now:
            this = approval_reminder.c.approval_id == row.approval_id
            connection.execute(delete(approval_reminder).where(this))
            continue
        sent += _escalated(connection, row, approval, now)
        sent += _reminded(connection, row, approval, now)
    stored = [submission for submission in sent if submission.events]
    enqueue.insert(connection, stored, now)
    return stored


def _reminded(connection: Connection, row: Any, approval: Approval, now: float) -> list[Submission]:
    if row.remind_at is None or row.remind_at > now:
        return []
    left = row.remind_left - 1
    _change(connection, row, remind_left=left, remind_at=now + row.remind_every if left else None)
    return [
        _message(
            connection,
            approval,
            replace(_reminder(connection, approval, chat), reply_to=shown),
            Recipient(chat, thread),
            kind="again",
            now=now,
        )
        for chat, thread, shown in _shown_in(connection, approval)
    ]


def _reminder(connection: Connection, approval: Approval, chat_id: int) -> BotMessage:
    return question_text.reminder(store.in_zone_of(connection, approval, [chat_id]))


def _escalated(connection: Connection, row: Any, approval: Approval, now: float) -> list[Submission]:
    if row.escalate_at is None or row.escalate_at > now:
        return []
    _change(connection, row, escalate_at=None)
    people = approval_rows.read_approvers(row.escalate_to)
    approvers = sorted({*approval.approvers, *people})
    connection.execute(
        update(approval_table)
        .where(approval_table.c.id == approval.id)
        .values(approvers=orjson.dumps(approvers).decode())
    )
    asked = replace(approval, approvers=tuple(approvers))
    return [
        _message(
            connection,
            approval,
            question_text.question(store.in_zone_of(connection, asked, [person])),
            Recipient(person),
            kind="question",
            now=now,
        )
        for person in people
    ]


def _change(connection: Connection, row: Any, **values: Any) -> None:
    this = approval_reminder.c.approval_id == row.approval_id
    connection.execute(update(approval_reminder).where(this).values(**values))


def _message(
    connection: Connection, approval: Approval, shown: BotMessage, to: Recipient, *, kind: str, now: float
) -> Submission:
    info = EventInfo(
        "approval_request",
        approval.title,
        approval.correlation_id,
        approval.trace,
        approval.source,
        Severity(approval.severity),
    )
    recipient = replace(to, expires_at=approval.expires_at)
    event, messages = bot_messages.new_event(
        shown, [recipient], info, approval.trace.child(), bot=approval.bot, now=now
    )
    store.add_messages(connection, approval.id, messages, kind)
    return Submission((event,), (messages,))


def _shown_in(connection: Connection, approval: Approval) -> list[tuple[int, int | None, int | None]]:
    """Chat, topic and Telegram's message id of each delivered question."""
    rows = connection.execute(
        select(approval_message.c.chat_id, approval_message.c.thread_id, message.c.telegram_message_ids)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(
            approval_message.c.approval_id == approval.id,
            approval_message.c.kind == "question",
            message.c.state == MessageState.DELIVERED.value,
        )
        .order_by(message.c.seq)
    )
    return [
        (row.chat_id, row.thread_id, next(reversed(telegram_ids(row.telegram_message_ids)), None))
        for row in rows
    ]
