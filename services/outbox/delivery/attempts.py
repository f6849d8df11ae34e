"""An attempt: a message is rendered, sent, and what becomes of it decided."""

import random
from collections.abc import Callable

import structlog

from services.kit.clock import Clock
from services.outbox.delivery import retry_policy
from services.outbox.delivery.retry_policy import Policy
from services.outbox.messages import Claimed, Outcome, Reason, Rendered, Result, Settled
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit.token_bucket import Floods, Rates
from services.outbox.telegram.sender import Sender, method_of, replace_oversized_edit

log = structlog.get_logger()

Render = Callable[[Claimed], Rendered]


class Attempts:
    """Makes one bot's attempts.

    Args:
        sender: the bot.
        render: what a message says.
        policy: retries.
        pace: the bot's own rate, paused where Telegram means the bot.
        metrics: of the engine.
        clock: the time.
    """

    def __init__(
        self,
        *,
        sender: Sender,
        render: Render,
        policy: Policy,
        pace: Rates,
        metrics: OutboxMetrics,
        clock: Clock,
    ) -> None:
        self._sender = sender
        self._render = render
        self._policy = policy
        self._pace = pace
        self._metrics = metrics
        self._clock = clock
        self._floods = Floods()

    async def make(self, message: Claimed) -> Settled:
        """Tries to deliver a message; whatever goes wrong is in the answer."""
        try:
            rendered = self._render(message)
            message = replace_oversized_edit(message, rendered)
            method = method_of(message, rendered)
        except Exception as error:
            log.exception("render_failed", message_id=message.id)
            now = self._clock.time()
            result = Result(Outcome.NOT_SENT, Reason.RENDER_FAILED, now, now, detail=_said(error))
            return await self._decided(message, result, 1)
        result = await self._sent(message, rendered)
        self._metrics.api_response.labels(method, result.outcome.value).observe(
            result.finished_at - result.started_at
        )
        return await self._decided(message, result, len(rendered.parts))

    async def _sent(self, message: Claimed, rendered: Rendered) -> Result:
        started = self._clock.time()
        try:
            return await self._sender.send(message, rendered)
        except Exception as error:
            log.exception("send_failed", message_id=message.id)
            now = self._clock.time()
            return Result(Outcome.UNKNOWN, Reason.BAD_ANSWER, started, now, detail=_said(error))

    async def _decided(self, message: Claimed, result: Result, parts: int) -> Settled:
        jitter = random.random()  # noqa: S311 - spreads retries, keeps no secret
        decision = retry_policy.decide(self._policy, message, result, parts, jitter)
        if decision.stop_bot is not None:
            log.error("bot_stopped", reason=decision.stop_bot.value, detail=result.detail)
        if decision.pause_chat_until:
            await self.widen(message.chat_id, decision.pause_chat_until)
        return Settled(message, result, decision, parts)

    async def widen(self, chat_id: int, until: float) -> None:
        """Notes that Telegram refuses a chat until then; a second one in the same while: it means the bot."""
        now = self._clock.time()
        bot_until = self._floods.told(chat_id, until=until, now=now)
        if bot_until is not None:
            log.warning("bot_paused", seconds=round(bot_until - now, 1))
            await self._pace.pause(bot_until - now)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
