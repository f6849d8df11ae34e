"""Asking again: what is open after a silence of Telegram in which taps died."""

from sqlalchemy import Connection, select

from services.bridge import bot_messages
from services.bridge.approvals import question_text, store
from services.bridge.approvals.approval import TAP_LIFE_SECONDS, Approval
from services.bridge.approvals.schema import approval, approval_message
from services.bridge.bot_messages import About, Recipient
from services.contracts.fields import Severity
from services.outbox.intake import enqueue
from services.outbox.messages import EventRecord, MessageRecord, MessageState, Submission
from services.outbox.schema import message


def ask_again(connection: Connection, bot: str, since: float, now: float) -> list[Submission]:
    """Every open question once more whose taps may be lost; younger taps Telegram still has.

    Args:
        connection: in a transaction.
        bot: which was deaf.
        since: when Telegram was last heard of.
        now: seconds since the epoch.
    """
    rows = connection.execute(
        select(approval).where(store.OPEN, approval.c.bot == bot, approval.c.expires_at > now)
    ).all()
    submissions = [_repeat(connection, store.read_row(row), since, now) for row in rows]
    made = [submission for submission in submissions if submission.events]
    enqueue.insert(connection, made, now)
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
    events: list[EventRecord] = []
    messages: list[tuple[MessageRecord, ...]] = []
    about = About(
        "approval_request",
        asked.title,
        asked.correlation_id,
        asked.trace,
        asked.source,
        Severity(asked.severity),
    )
    for row in shown:
        words = question_text.again(asked, since, now, int(row.telegram_message_ids.rpartition(",")[2]))
        to = [Recipient(row.chat_id, row.thread_id, expires_at=asked.expires_at)]
        event, sent = bot_messages.event(words, to, about, asked.trace.child(), bot=asked.bot, now=now)
        events.append(event)
        messages.append(sent)
        store.add_messages(connection, asked.id, sent, "again")
    return Submission(tuple(events), tuple(messages))
