"""Sources of updates: long polling, or a webhook that Telegram calls."""

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

#: The longest poll that Telegram allows.
POLL_SECONDS = 50
#: Read timeout beyond the duration of a poll.
_READ_MARGIN_SECONDS = 15.0
LARGEST_BATCH = 100
_CHECK_INTERVAL_SECONDS = 20.0
_WAIT_AFTER_CONFLICT = 5.0
_WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
_WAIT_AFTER_INVALID_TOKEN = 30.0

Updates = Sequence[dict[str, Any]]
#: Stores updates; returns after the commit. Without updates it records that Telegram was reached.
OnUpdates = Callable[[Updates], Awaitable[None]]
#: Counts a conflict: another program receives the updates of the same bot.
OnConflict = Callable[[], None]


class Source(Protocol):
    """Where the updates of one bot come from; ``mode`` is shown in health."""

    mode: str

    async def run(self, on_updates: OnUpdates, on_conflict: OnConflict) -> None:
        """Receives until cancelled; retries after every error of Telegram."""


class Polling:
    """Receives by getUpdates; each call acknowledges the updates of the previous one, which are stored."""

    mode = "polling"

    def __init__(self, bot: Bot) -> None:
        self._bot = bot

    async def run(self, on_updates: OnUpdates, on_conflict: OnConflict) -> None:
        offset = 0
        failures = 0
        ready = works = False
        while True:
            try:
                if not ready:
                    # Telegram refuses polls while a webhook of an earlier configuration is set.
                    await self._bot.call("deleteWebhook", {"drop_pending_updates": False})
                    ready = True
                # The first poll after a failure returns at once, so that health shows the recovery.
                updates = await self._poll(offset, POLL_SECONDS if works else 0)
                works, failures = True, 0
            except TelegramError as error:
                if isinstance(error, Conflict):
                    on_conflict()
                    ready = False
                works = False
                failures += 1
                wait = _wait(error, failures)
                log.warning("get_updates_failed", error=redact(str(error.message)), wait_seconds=wait)
                await asyncio.sleep(wait)
                continue
            await on_updates(updates)
            offset = max((int(update["update_id"]) + 1 for update in updates), default=offset)

    async def _poll(self, offset: int, seconds: int) -> Updates:
        parameters = {
            "offset": offset,
            "limit": LARGEST_BATCH,
            "timeout": seconds,
            "allowed_updates": orjson.dumps(KINDS).decode(),
        }
        timeout = seconds + _READ_MARGIN_SECONDS
        answer = await self._bot.call("getUpdates", parameters, read_timeout=timeout)
        if not isinstance(answer, list):
            raise TelegramError("Invalid server response")
        return answer


def _wait(error: TelegramError, failures: int) -> float:
    if isinstance(error, Conflict):
        return _WAIT_AFTER_CONFLICT
    if isinstance(error, InvalidToken):
        return _WAIT_AFTER_INVALID_TOKEN
    return _WAITS[min(failures, len(_WAITS)) - 1]


@dataclass(frozen=True, slots=True)
class Webhook:
    """Registers the webhook, and checks every 20 s that Telegram reaches it.

    The updates themselves come to ``POST /telegram/webhook``, at any replica.
    """

    bot: Bot
    url: str
    secret: str
    clock: Clock

    mode = "webhook"

    async def run(self, on_updates: OnUpdates, on_conflict: OnConflict) -> None:
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
                log.warning("webhook_check_failed", error=redact(str(error.message)), wait_seconds=wait)
                await asyncio.sleep(wait)
                continue
            if info.get("url") != self.url:
                on_conflict()
                registered = False
                await asyncio.sleep(_WAIT_AFTER_CONFLICT)
                continue
            if self._is_reached(info):
                await on_updates(())
            else:
                log.warning("webhook_unreachable", error=info.get("last_error_message"))
            await asyncio.sleep(_CHECK_INTERVAL_SECONDS)

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

    def _is_reached(self, info: dict[str, Any]) -> bool:
        """False if updates are pending after an error of the last minute."""
        error_at = info.get("last_error_date")
        recent = error_at is not None and self.clock.time() - float(error_at) < 3 * _CHECK_INTERVAL_SECONDS
        return not (recent and info.get("pending_update_count"))
