"""Reask: sends the question of an open approval again after an outage in which taps were lost."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, select

from services.bridge import bot_messages
from services.bridge.approvals import approval_rows, question_text, store
from services.bridge.approvals.approval import Approval
from services.bridge.approvals.schema import approval as approval_table
from services.bridge.approvals.schema import approval_message
from services.bridge.bot_messages import EventInfo, Recipient
from services.contracts.fields import Severity
from services.outbox.intake import enqueue
from services.outbox.messages import MessageState, Submission
from services.outbox.queries.message_rows import telegram_ids
from services.outbox.schema import message
from services.updates.parse import TAP_LIFE_SECONDS


def repeat_open(connection: Connection, bot: str, since: float, now: float) -> list[Submission]:
    """Sends the questions of a bot's open approvals again; returns what was stored.

    A question that was delivered less than 150 seconds ago is left out: Telegram still has its taps.

    Args:
        connection: in a transaction.
        bot: that received no updates.
        since: when it last received some.
        now: seconds since the epoch.
    """
    rows = connection.execute(
        select(approval_table).where(
            store.IS_OPEN, approval_table.c.bot == bot, approval_table.c.expires_at > now
        )
    ).all()
    submissions = [_repeat(connection, approval_rows.from_row(row), since, now) for row in rows]
    stored = [submission for submission in submissions if submission.events]
    enqueue.insert(connection, stored, now)
    return stored


def _repeat(connection: Connection, approval: Approval, since: float, now: float) -> Submission:
    info = EventInfo(
        "approval_request",
        approval.title,
        approval.correlation_id,
        approval.trace,
        approval.source,
        Severity(approval.severity),
    )
    events, messages = [], []
    for row in _delivered_questions(connection, approval, now):
        reply_to = next(reversed(telegram_ids(row.telegram_message_ids)), None)
        here = store.in_zone_of(connection, approval, [row.chat_id])
        question = question_text.repeated_question(here, since, now, reply_to)
        to = [Recipient(row.chat_id, row.thread_id, expires_at=approval.expires_at)]
        event, sent = bot_messages.new_event(
            question, to, info, approval.trace.child(), bot=approval.bot, now=now
        )
        events.append(event)
        messages.append(sent)
        store.add_messages(connection, approval.id, sent, "again")
    return Submission(tuple(events), tuple(messages))


def _delivered_questions(connection: Connection, approval: Approval, now: float) -> Sequence[Any]:
    return connection.execute(
        select(approval_message, message.c.telegram_message_ids)
        .join(message, message.c.id == approval_message.c.message_id)
        .where(
            approval_message.c.approval_id == approval.id,
            approval_message.c.kind == "question",
            message.c.state == MessageState.DELIVERED.value,
            message.c.finished_at < now - TAP_LIFE_SECONDS,
        )
    ).all()
