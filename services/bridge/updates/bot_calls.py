"""Small calls to Telegram that an update leaves: an answer over a button, a sign under a text.

They do not go through the engine: they count against no limit, must not wait behind a chat's
messages, and after a few minutes nobody is helped by them. They are on disk until they are done.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from telegram.error import BadRequest, Forbidden, InvalidToken, RetryAfter, TelegramError

from services.bridge.updates import store
from services.bridge.updates.store import Chore
from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.logs import redact
from services.outbox.telegram.bot_api import Bot

log = structlog.get_logger()

#: Later than this after the update nobody looks at the button any more.
WORTH_SECONDS = 140.0
WAITS = (0.2, 1.0, 3.0, 10.0)
#: Telegram has understood, and will not answer otherwise to a repetition.
_FINAL = (BadRequest, Forbidden, InvalidToken)


class Chores:
    """Does them side by side, each update's in order."""

    def __init__(self, bot: Bot, database: Database, clock: Clock) -> None:
        self._bot = bot
        self._database = database
        self._clock = clock
        self._under_way: dict[int, asyncio.Task[None]] = {}

    def start(self, seq: int, received_at: float, chores: Sequence[Chore]) -> None:
        if seq in self._under_way:
            return
        task = asyncio.create_task(self._do(seq, received_at, chores))
        self._under_way[seq] = task
        task.add_done_callback(lambda _: self._under_way.pop(seq, None))

    async def resume(self, name: str) -> None:
        """Starts what an earlier run of the bridge, or another replica, has left."""
        for seq, received_at, chores in await self._database.read(
            "updates", partial(store.with_chores, bot=name)
        ):
            self.start(seq, received_at, chores)

    async def close(self) -> None:
        """Waits a moment for what is under way; what is not done stays on disk."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=2.0)
        for task in tuple(self._under_way.values()):
            task.cancel()

    async def _do(self, seq: int, received_at: float, chores: Sequence[Chore]) -> None:
        errors = [await self._call(chore, received_at) for chore in chores]
        error = "; ".join(error for error in errors if error)
        await self._database.write("updates", partial(store.chores_done, seq=seq, error=error))

    async def _call(self, chore: Chore, received_at: float) -> str:
        """Calls until Telegram has understood; answers what was wrong in the end, if anything."""
        error = "too late for anybody to see"
        for wait in (*WAITS, None):
            if self._clock.time() - received_at > WORTH_SECONDS:
                return error
            try:
                await self._bot.call(chore.method, dict(chore.data))
            except TelegramError as failure:
                error = redact(str(failure.message))
                log.info("chore_failed", method=chore.method, error=error)
                if isinstance(failure, _FINAL) or wait is None:
                    return error
                await asyncio.sleep(max(wait, _seconds(failure)))
            else:
                return ""
        return error


def _seconds(failure: TelegramError) -> float:
    if not isinstance(failure, RetryAfter):
        return 0.0
    told = failure.retry_after
    return float(told.total_seconds() if hasattr(told, "total_seconds") else told)
