"""Posts updates to a bot's webhook, with Telegram's retry rules (telegram-bot-api, WebhookActor.cpp).

Updates of one chat or person are posted in order, others in parallel. Anything but 2xx is retried: at once,
then after 2, 4, 8 … seconds, at most one to two minutes (random). Retry-After is followed up to an hour. An
update is dropped when it expires. 410 for 23 hours removes the webhook. Method calls in the answer are
ignored.
"""

import asyncio
from random import Random

import aiohttp
import structlog

from services.telegram_sandbox.metrics import SandboxMetrics
from services.telegram_sandbox.state.bots import Bot, Webhook
from services.telegram_sandbox.state.sandbox import Sandbox
from services.telegram_sandbox.state.update_queue import Update

TIMEOUT = 60.0  # seconds for one post
LONGEST_RETRY_AFTER = 3_600.0  # seconds
GONE = 410
GONE_LIMIT = 23 * 3_600.0  # seconds of 410 answers after which the webhook is removed
DOUBLED_RETRIES = 6  # after so many retries the delay is one to two minutes

log = structlog.get_logger()


def retry_delay(retry: int, retry_after: float | None, random: Random) -> float:
    """Returns the seconds before retry number `retry`, counted from 1."""
    if retry_after is not None:
        return min(max(retry_after, 0.0), LONGEST_RETRY_AFTER)
    if retry <= 1:
        return 0.0
    longest = random.uniform(60.0, 120.0)
    return longest if retry > DOUBLED_RETRIES + 1 else min(2.0 ** (retry - 1), longest)


class WebhookSender:
    """Runs one task for each chat or person of a bot with pending updates."""

    def __init__(self, sandbox: Sandbox, metrics: SandboxMetrics, session: aiohttp.ClientSession) -> None:
        self._sandbox = sandbox
        self._metrics = metrics
        self._session = session
        self._random = Random(0)  # noqa: S311 # delays, not secrets
        self._lanes: dict[tuple[int, int], asyncio.Task[None]] = {}
        self._semaphores: dict[int, tuple[Webhook, asyncio.Semaphore]] = {}

    def wake(self, bot: Bot) -> None:
        """Starts missing tasks; called for every new update and every change of the webhook."""
        if bot.webhook is None:
            return
        for lane in {update.lane for update in bot.queue.pending.values()}:
            if (bot.id, lane) not in self._lanes:
                task = asyncio.create_task(self._work(bot, bot.webhook, lane))
                self._lanes[bot.id, lane] = task

    async def close(self) -> None:
        """Stops all tasks; unposted updates stay queued for the next start."""
        self._sandbox.on_update = lambda _bot: None
        for task in self._lanes.values():
            task.cancel()
        await asyncio.gather(*self._lanes.values(), return_exceptions=True)

    async def _work(self, bot: Bot, webhook: Webhook, lane: int) -> None:
        try:
            while bot.webhook is webhook and (update := self._first(bot, lane)) is not None:
                await self._deliver(bot, webhook, update)
        finally:
            del self._lanes[bot.id, lane]
            if bot.webhook is not None and bot.webhook is not webhook:
                self.wake(bot)

    def _first(self, bot: Bot, lane: int) -> Update | None:
        now = self._sandbox.clock.now()
        for update in tuple(bot.queue.pending.values()):
            if update.expires <= now:
                del bot.queue.pending[update.id]
            elif update.lane == lane:
                return update
        return None

    async def _deliver(self, bot: Bot, webhook: Webhook, update: Update) -> None:
        retry = 0
        while bot.webhook is webhook and update.id in bot.queue.pending:
            if update.expires <= self._sandbox.clock.now():
                return
            async with self._semaphore(bot, webhook):
                status, retry_after, error = await self._post(webhook, update)
            if not error:
                bot.webhook_state.gone_since = None
                bot.queue.pending.pop(update.id, None)
                self._sandbox.record("posted", bot=bot.id, update_id=update.id, status=status)
                return
            retry += 1
            self._failed(bot, status, error)
            await self._sandbox.clock.sleep(retry_delay(retry, retry_after, self._random))

    def _semaphore(self, bot: Bot, webhook: Webhook) -> asyncio.Semaphore:
        known = self._semaphores.get(bot.id)
        if known is None or known[0] is not webhook:
            known = self._semaphores[bot.id] = (webhook, asyncio.Semaphore(webhook.max_connections))
        return known[1]

    async def _post(self, webhook: Webhook, update: Update) -> tuple[int, float | None, str]:
        """Posts an update; returns the status (0: no answer), Retry-After and the error text, if any."""
        headers = {"X-Telegram-Bot-Api-Secret-Token": webhook.secret_token} if webhook.secret_token else {}
        try:
            async with self._session.post(webhook.url, json=update.wire(), headers=headers) as answer:
                await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._metrics.webhook_posts.labels("failed").inc()
            return 0, None, "Connection timed out" if isinstance(error, TimeoutError) else str(error)
        if answer.ok:
            self._metrics.webhook_posts.labels("ok").inc()
            return answer.status, None, ""
        self._metrics.webhook_posts.labels("refused").inc()
        retry_after = answer.headers.get("Retry-After", "")
        error_text = f"Wrong response from the webhook: {answer.status} {answer.reason}"
        return answer.status, float(retry_after) if retry_after.isdigit() else None, error_text

    def _failed(self, bot: Bot, status: int, error: str) -> None:
        now, state = self._sandbox.clock.now(), bot.webhook_state
        state.last_error_at, state.last_error = now, error
        if status != GONE:
            state.gone_since = None
            return
        state.gone_since = now if state.gone_since is None else state.gone_since
        if now - state.gone_since >= GONE_LIMIT:
            log.warning("webhook_removed", bot=bot.id, url=bot.webhook.url if bot.webhook else None)
            self._sandbox.set_webhook(bot, None)
