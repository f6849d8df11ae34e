"""Closes questions that nobody answered in time. Each replica looks; the compare-and-set picks one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from services.bridge.approvals import decisions
from services.bridge.approvals.decisions import Changed
from services.kit.background import suppress_and_log
from services.kit.clock import Clock
from services.kit.database.connect import Database

LOOK_SECONDS = 1.0


async def run(
    database: Database, clock: Clock, changed: Callable[[Sequence[Changed]], Awaitable[None]]
) -> None:
    """Looks every second, until cancelled.

    Args:
        database: that holds the questions.
        clock: the time.
        changed: told of what was closed, after the commit.
    """
    while True:
        with suppress_and_log("expiry_failed"):
            await changed(
                await database.write("approval_expire", partial(decisions.expire, now=clock.time()))
            )
        await asyncio.sleep(LOOK_SECONDS)
