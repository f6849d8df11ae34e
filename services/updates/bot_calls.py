"""Bot API calls that answer an update, such as ``answerCallbackQuery`` after a tap on a button.

They bypass the message queue: Telegram does not count them against its message limits, and they must not
wait for messages of the same chat. The calls of an update stay in the database until each has succeeded,
was refused for good, has failed five times, or is too old to be useful (140 s).
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import structlog
from telegram.error import BadRequest, Forbidden, InvalidToken, TelegramError

from services.kit.clock import Clock
from services.kit.database.connect import Database
from services.kit.logs import redact
from services.outbox.telegram import errors
from services.outbox.telegram.bot_api import Bot
from services.updates.stored_updates import store
from services.updates.stored_updates.store import BotCall

log = structlog.get_logger()

#: Telegram forgets a tap after 150 s; a call that is older than this is dropped.
USEFUL_SECONDS = 140.0
#: Seconds before each further try.
RETRY_WAITS = (0.2, 1.0, 3.0, 10.0)
#: Telegram would refuse a repetition in the same way.
_FINAL = (BadRequest, Forbidden, InvalidToken)


class BotCallRunner:
    """Makes the calls of one bot: those of different updates in parallel, those of one update in order.

    A call that fails does not stop the next call of its update.
    """

    def __init__(self, bot: Bot, database: Database, clock: Clock) -> None:
        self._bot = bot
        self._database = database
        self._clock = clock
        self._running: dict[int, asyncio.Task[None]] = {}

    def start(self, seq: int, received_at: float, calls: Sequence[BotCall]) -> None:
        """Starts the calls of an update in the background, unless this process runs them already.

        Args:
            seq: number of the stored update.
            received_at: when the update was received, in seconds since the epoch.
            calls: in the order of making them.
        """
        if seq in self._running:
            return
        task = asyncio.create_task(self._run(seq, received_at, calls))
        self._running[seq] = task
        task.add_done_callback(lambda _: self._running.pop(seq, None))

    async def resume(self, bot: str) -> None:
        """Starts all calls of the bot that are unfinished in the database.

        After a crash, calls of an update that were made before the crash are made again.
        """
        for seq, received_at, calls in await self._database.read(
            "updates", partial(store.pending_bot_calls, bot=bot)
        ):
            self.start(seq, received_at, calls)

    async def close(self) -> None:
        """Waits up to 2 s for running calls, then cancels them; these stay in the database."""
        if self._running:
            await asyncio.wait(self._running.values(), timeout=2.0)
        for task in tuple(self._running.values()):
            task.cancel()

    async def _run(self, seq: int, received_at: float, calls: Sequence[BotCall]) -> None:
        failed = [await self._call(call, received_at) for call in calls]
        error = "; ".join(error for error in failed if error)
        await self._database.write("updates", partial(store.finish_bot_calls, seq=seq, error=error))

    async def _call(self, call: BotCall, received_at: float) -> str:
        """Makes one call, with retries; returns the last error, or an empty text."""
        error = f"not made: the update is older than {USEFUL_SECONDS:g} s"
        for wait in (*RETRY_WAITS, None):
            if self._clock.time() - received_at > USEFUL_SECONDS:
                return error
            try:
                await self._bot.call(call.method, dict(call.data))
            except TelegramError as failure:
                error = redact(str(failure.message))
                log.info("bot_call_failed", method=call.method, error=error)
                pause = max(wait or 0.0, errors.retry_after_seconds(failure) or 0.0)
                is_late = self._clock.time() + pause - received_at > USEFUL_SECONDS
                if isinstance(failure, _FINAL) or wait is None or is_late:
                    return error
                await asyncio.sleep(pause)
            else:
                return ""
        return error
