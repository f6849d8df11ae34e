"""Sources of updates: long polling, or a webhook that Telegram calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog
from telegram.error import Conflict, InvalidToken, TelegramError

from services.kit.clock import Clock
from services.kit.logs import redact
from services.outbox.telegram import answers, values
from services.outbox.telegram.bot_api import Bot
from services.outbox.telegram.errors import BadAnswerError
from services.updates import batch as batches
from services.updates.batch import Batch
from services.updates.parse import KINDS

log = structlog.get_logger()

#: The longest poll that Telegram allows.
POLL_SECONDS = 50
#: Read timeout beyond the duration of a poll.
_READ_MARGIN_SECONDS = 15.0
#: Longest URL of a webhook that is read.
LONGEST_URL = 4_096
_CHECK_INTERVAL_SECONDS = 20.0
_WAIT_AFTER_CONFLICT = 5.0
_WAITS = (0.5, 1.0, 2.0, 5.0, 10.0)
_WAIT_AFTER_INVALID_TOKEN = 30.0

#: A poll that ends sooner, without an update, was not waited for by the server.
_SHORTEST_POLL_SECONDS = 1.0

#: Stores a batch and returns how many of its updates are new, after the commit. A batch without updates
#: records that Telegram was reached.
OnUpdates = Callable[[Batch], Awaitable[int]]
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
        self._offset = 0
        self._has_no_webhook = self._works = False

    async def run(self, on_updates: OnUpdates, on_conflict: OnConflict) -> None:
        self._offset, self._has_no_webhook, self._works = 0, False, False
        failures = fruitless = 0
        while True:
            try:
                batch, waited = await self._poll()
                failures = 0
            except TelegramError as error:
                failures += 1
                await self._wait_after(error, failures, on_conflict)
                continue
            new = await on_updates(batch)
            self._offset = self._offset if batch.next_offset is None else batch.next_offset
            fruitless = 0 if new or (waited and batch == Batch()) else fruitless + 1
            if fruitless:
                # The server ignores the offset or does not wait: polls without a pause would never end.
                await asyncio.sleep(_nth_wait(fruitless))

    async def _wait_after(self, error: TelegramError, failures: int, on_conflict: OnConflict) -> None:
        self._works = False
        if isinstance(error, Conflict):
            on_conflict()
            self._has_no_webhook = False
        wait = _wait(error, failures)
        log.warning("get_updates_failed", error=redact(str(error.message)), wait_seconds=wait)
        await asyncio.sleep(wait)

    async def _poll(self) -> tuple[Batch, bool]:
        """Returns the next updates, and whether the server waited for them, as it was asked to."""
        if not self._has_no_webhook:
            # Telegram refuses polls while a webhook of an earlier configuration is set.
            await self._bot.call("deleteWebhook", {"drop_pending_updates": False})
            self._has_no_webhook = True
        # The first poll after a failure returns at once, so that health shows the recovery.
        seconds = POLL_SECONDS if self._works else 0
        parameters = {
            "offset": self._offset,
            "limit": batches.LARGEST_BATCH,
            "timeout": seconds,
            "allowed_updates": orjson.dumps(KINDS).decode(),
        }
        began = time.monotonic()
        answer = await self._bot.exchange(
            "getUpdates", parameters, read_timeout=seconds + _READ_MARGIN_SECONDS
        )
        waited = time.monotonic() - began >= min(seconds, _SHORTEST_POLL_SECONDS)
        # In a thread: an answer has up to 8 MiB, and other requests go on meanwhile.
        batch = await asyncio.to_thread(batches.read, *answer)
        self._works = True
        return batch, waited


def _wait(error: TelegramError, failures: int) -> float:
    if isinstance(error, Conflict):
        return _WAIT_AFTER_CONFLICT
    if isinstance(error, InvalidToken):
        return _WAIT_AFTER_INVALID_TOKEN
    return _nth_wait(failures)


def _nth_wait(number: int) -> float:
    return _WAITS[min(number, len(_WAITS)) - 1]


@dataclass(frozen=True, slots=True)
class WebhookInfo:
    """What getWebhookInfo says.

    Args:
        url: the registered one, or empty.
        pending: whether updates wait.
        error: of the last call that failed; empty if there was none.
        error_at: when that was, seconds since the epoch.
    """

    url: str
    pending: bool = False
    error: str = ""
    error_at: float | None = None

    @classmethod
    def of(cls, result: Any) -> "WebhookInfo":
        """Reads the result of getWebhookInfo.

        Raises:
            BadAnswerError: it is none.
        """
        try:
            at = result.get("last_error_date")
            return cls(
                values.text(result.get("url", ""), LONGEST_URL),
                bool(result.get("pending_update_count")),
                values.optional_text(result.get("last_error_message"), answers.LONGEST_DESCRIPTION) or "",
                None if at is None else float(values.integer(at, 0, values.LARGEST_ID)),
            )
        except (AttributeError, ValueError) as error:
            raise BadAnswerError("the answer to getWebhookInfo describes no webhook") from error


@dataclass(frozen=True, slots=True)
class Webhook:
    """Registers the webhook, and checks every 20 s that Telegram reaches it.

    The updates themselves come to a route of the service, at any replica.
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
                info = WebhookInfo.of(await self.bot.call("getWebhookInfo", {}))
                failures = 0
            except TelegramError as error:
                failures += 1
                wait = _wait(error, failures)
                log.warning("webhook_check_failed", error=redact(str(error.message)), wait_seconds=wait)
                await asyncio.sleep(wait)
                continue
            if info.url != self.url:
                on_conflict()
                registered = False
                await asyncio.sleep(_WAIT_AFTER_CONFLICT)
                continue
            if self._is_reached(info):
                await on_updates(Batch())
            else:
                log.warning("webhook_unreachable", error=redact(info.error))
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

    def _is_reached(self, info: WebhookInfo) -> bool:
        """False if updates are pending after an error of the last minute."""
        at = info.error_at
        recent = at is not None and self.clock.time() - at < 3 * _CHECK_INTERVAL_SECONDS
        return not (recent and info.pending)
