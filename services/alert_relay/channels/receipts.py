"""What targets answered last, read from the attempts of the outbox."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from services.alert_relay.channels.store import CHANNELS_BOT
from services.alert_relay.channels.target import Target
from services.alert_relay.schema import target as targets
from services.outbox.messages import Outcome
from services.outbox.schema import attempt, message


@dataclass(frozen=True, slots=True)
class LastAttempt:
    """An attempt: when it ended (seconds since the epoch), why it failed, and what the channel answered."""

    at: float
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class LastAttempts:
    """The last attempt that a target took, and the last that it did not; None: none is stored."""

    taken: LastAttempt | None
    failed: LastAttempt | None


def read(connection: Connection, target: Target, telegram_bot: str) -> LastAttempts:
    """Returns the last attempts of a target.

    Args:
        connection: in a transaction.
        target: any, also one that was never sent to.
        telegram_bot: name of the outbox's bot that sends to Telegram.
    """
    bot = CHANNELS_BOT if target.chat is None else telegram_bot
    chat_id = _number(connection, target) if target.chat is None else target.chat[0]
    if chat_id is None:
        return LastAttempts(None, None)
    columns = (attempt.c.finished_at, attempt.c.reason, attempt.c.detail)
    newest = (
        select(*columns)
        .join(message, message.c.seq == attempt.c.message_seq)
        .where(message.c.chat_id == chat_id, message.c.bot == bot, attempt.c.finished_at.is_not(None))
        .order_by(message.c.seq.desc(), attempt.c.number.desc())
        .limit(1)
    )
    taken = attempt.c.outcome == Outcome.SENT.value
    return LastAttempts(
        _attempt(connection.execute(newest.where(taken)).first()),
        _attempt(connection.execute(newest.where(~taken)).first()),
    )


def _number(connection: Connection, target: Target) -> int | None:
    return connection.execute(select(targets.c.id).where(targets.c.text == str(target))).scalar()


def _attempt(row: Row[Any] | None) -> LastAttempt | None:
    return None if row is None else LastAttempt(row.finished_at, row.reason or "", row.detail or "")
