"""Where updates come from: long polling, or a webhook that Telegram calls."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog
from telegram.error import Conflict, InvalidToken, TelegramError

from services.bridge.updates.parse import KINDS
from services.kit.clock import Clock
from services.kit.logs import redact
from services.outbox.telegram.bot_api import Bot

log = structlog.get_logger()

#: The longest that Telegram holds a poll.
POLL_SECONDS = 50
#: An answer that takes longer than the poll itself and this is none.
_PATIENCE_SECONDS = 15.0
LARGEST_BATCH = 100
_LOOK_SECONDS = 20.0
_WAIT_AFTER_CONFLICT = 5.0
_WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
_WAIT_WHILE_REFUSED = 30.0

Updates = Sequence[dict[str, Any]]
#: Stores what was heard; returns once it is durable.
Heard = Callable[[Updates], Awaitable[None]]
#: Told of each conflict with another receiver.
Conflicted = Callable[[], None]


class Source(Protocol):
    mode: str

    async def listen(self, heard: Heard, conflicted: Conflicted) -> None:
        """Listens until cancelled; survives everything that Telegram answers."""


class Polling:
    """getUpdates. What one call answers is acknowledged by the next one's offset: after it is stored."""

    mode = "polling"

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def listen(self, heard: Heard, conflicted: Conflicted) -> None:
        offset = 0
        failures = 0
        ready = works = False
        while True:
            try:
                if not ready:
                    # A webhook of an earlier life would refuse every poll.
                    await self._bot.call("deleteWebhook", {"drop_pending_updates": False})
                    ready = True
                # The first after a failure is answered at once: nobody shall wait a minute to know.
                updates = await self._poll(offset, POLL_SECONDS if works else 0)
                works, failures = True, 0
            except TelegramError as error:
                if isinstance(error, Conflict):
                    conflicted()
                    ready = False
                works = False
                failures += 1
                wait = _wait(error, failures)
                log.warning("updates_failed", error=redact(str(error.message)), wait_seconds=wait)
                await asyncio.sleep(wait)
                continue
            await heard(updates)
            offset = max((int(update["update_id"]) + 1 for update in updates), default=offset)

    async def _poll(self, offset: int, seconds: int) -> Updates:
        asked = {
            "offset": offset,
            "limit": LARGEST_BATCH,
            "timeout": seconds,
            "allowed_updates": orjson.dumps(KINDS).decode(),
        }
        answer = await self._bot.call("getUpdates", asked, read_timeout=seconds + _PATIENCE_SECONDS)
        if not isinstance(answer, list):
            raise TelegramError("Invalid server response")
        return answer


def _wait(error: TelegramError, failures: int) -> float:
    if isinstance(error, Conflict):
        return _WAIT_AFTER_CONFLICT
    if isinstance(error, InvalidToken):
        return _WAIT_WHILE_REFUSED
    return _WAITS[min(failures, len(_WAITS)) - 1]


@dataclass(frozen=True, slots=True)
class Webhook:
    """setWebhook, and a look now and then whether Telegram still reaches it.

    The updates themselves come to ``POST /telegram/webhook``, at whichever replica.
    """

    bot: Bot
    url: str
    secret: str
    clock: Clock

    mode = "webhook"

    async def listen(self, heard: Heard, conflicted: Conflicted) -> None:
        failures = 0
        registered = False
        while True:
            try:
                if not registered:
                    await self._register()
                    registered = True
                info = await self.bot.call("getWebhookInfo", {})
                failures = 0
            except TelegramError as error:
                failures += 1
                wait = _wait(error, failures)
                log.warning("webhook_failed", error=redact(str(error.message)), wait_seconds=wait)
                await asyncio.sleep(wait)
                continue
            if info.get("url") != self.url:
                conflicted()
                registered = False
                await asyncio.sleep(_WAIT_AFTER_CONFLICT)
                continue
            if self._reaches_us(info):
                await heard(())
            else:
                log.warning("webhook_unreachable", error=info.get("last_error_message"))
            await asyncio.sleep(_LOOK_SECONDS)

    async def _register(self) -> None:
        await self.bot.call(
            "setWebhook",
            {
                "url": self.url,
                "secret_token": self.secret,
                "allowed_updates": orjson.dumps(KINDS).decode(),
                "max_connections": 40,
            },
        )

    def _reaches_us(self, info: dict[str, Any]) -> bool:
        """Updates that wait after an error of the last minutes are updates that do not come."""
        error_at = info.get("last_error_date")
        recent = error_at is not None and self.clock.time() - float(error_at) < 3 * _LOOK_SECONDS
        return not (recent and info.get("pending_update_count"))
