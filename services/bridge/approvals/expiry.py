"""Expiry: closes approvals that got no answer in time."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy import Connection, select

from services.bridge.approvals import approval_rows, decisions, store
from services.bridge.approvals.approval import AnswerOutcome, ApprovalState
from services.bridge.approvals.decisions import ApprovalChange
from services.bridge.approvals.schema import approval, approval_message
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.outbox.chats import locks

INTERVAL_SECONDS = 1.0
#: Approvals that one transaction closes at most.
BATCH = 100


async def run(
    database: Database, clock: Clock, publish: Callable[[Sequence[ApprovalChange]], Awaitable[None]]
) -> None:
    """Expires approvals each second until cancelled; every replica runs it.

    Args:
        database: of the bridge.
        clock: source of the time.
        publish: called each second, after the commit, with the approvals that it closed; often none.
    """
    while True:
        with suppress_and_log("approval_expiry_failed"):
            await publish(await database.write("approval_expire", partial(expire, now=clock.time())))
        await asyncio.sleep(INTERVAL_SECONDS)


def expire(connection: Connection, now: float) -> list[ApprovalChange]:
    """Closes a batch of approvals that have passed ``expires_at``; only one replica closes each of them."""
    overdue = connection.execute(
        select(approval)
        .where(store.IS_OPEN, approval.c.expires_at <= now)
        .order_by(approval.c.expires_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True)
    ).all()
    _lock_chats(connection, [row.id for row in overdue])
    changes = []
    for row in overdue:
        expired = replace(approval_rows.from_row(row), state=ApprovalState.EXPIRED, closed_at=now)
        change = decisions.close(connection, expired, AnswerOutcome.EXPIRED, now=now)
        changes += [change] if change else []
    return changes


def _lock_chats(connection: Connection, approval_ids: Sequence[str]) -> None:
    """Locks the chats of all these approvals in one order, which avoids deadlocks between replicas."""
    of = (
        select(approval.c.bot, approval_message.c.chat_id)
        .join(approval_message, approval_message.c.approval_id == approval.c.id)
        .where(approval.c.id.in_(approval_ids))
    )
    locks.lock_chats(connection, [(row.bot, row.chat_id) for row in connection.execute(of)])
