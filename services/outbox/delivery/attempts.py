"""Attempts: renders and sends one message, and decides its next state."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from services.kit.clock import Clock
from services.kit.database.interface import StoreUnavailableError
from services.outbox.delivery import retry_policy
from services.outbox.delivery.message_sender import MessageSender
from services.outbox.delivery.retry_policy import Policy
from services.outbox.messages import Claimed, FileNotReadyError, Outcome, Reason, Rendered, Result, Settled
from services.outbox.messages.step import Render
from services.outbox.metrics import OutboxMetrics
from services.outbox.rate_limit.bot_rate_limiter import BotRateLimiter, FloodControl

log = structlog.get_logger()

#: Makes a message's files ready before it is rendered; raises FileNotReadyError where one is not.
Prepare = Callable[[Claimed], Awaitable[Claimed]]


async def as_it_is(message: Claimed) -> Claimed:
    """For services whose messages have no files, or only stored ones."""
    return message


class Attempts:
    """Makes one bot's attempts.

    Args:
        sender: sends them.
        render: makes text and entities of a message; pure.
        policy: retries.
        rates: the bot's rate, paused by flood control of the whole bot.
        metrics: of the engine.
        clock: the time.
        prepare: makes the files of a message ready.
        shares_flood: whether flood control of two chats at once means that of the whole bot.
    """

    def __init__(
        self,
        *,
        sender: MessageSender,
        render: Render,
        policy: Policy,
        rates: BotRateLimiter,
        metrics: OutboxMetrics,
        clock: Clock,
        prepare: Prepare = as_it_is,
        shares_flood: bool = True,
    ) -> None:
        self._sender = sender
        self._render = render
        self._policy = policy
        self._rates = rates
        self._metrics = metrics
        self._clock = clock
        self._prepare = prepare
        self._floods = FloodControl() if shares_flood else None

    async def make(self, message: Claimed) -> Settled:
        """Renders and sends a message; an error is in the result, and never raised."""
        was_edit = message.is_edit
        try:
            step = self._sender.step(await self._prepare(message), self._render)
        except (FileNotReadyError, StoreUnavailableError) as error:
            now = self._clock.time()
            result = Result(Outcome.NOT_SENT, Reason.FILE_NOT_READY, now, now, detail=str(error))
            return await self._decide(message, result, 1)
        except Exception as error:
            log.exception("render_failed", message_id=message.id)
            now = self._clock.time()
            result = Result(Outcome.NOT_SENT, Reason.RENDER_FAILED, now, now, detail=_text_of(error))
            return await self._decide(message, result, 1)
        result = await self._send(step.message, step.rendered)
        if step.method is not None:
            self._metrics.observe_response(
                step.method, result.outcome, result.finished_at - result.started_at
            )
        settled = await self._decide(step.message, result, step.total)
        if was_edit and not step.message.is_edit:
            return replace(settled, decision=replace(settled.decision, as_new=True))
        return settled

    async def _send(self, message: Claimed, rendered: Rendered) -> Result:
        started = self._clock.time()
        try:
            return await self._sender.send(message, rendered)
        except Exception as error:
            log.exception("send_failed", message_id=message.id)
            now = self._clock.time()
            return Result(Outcome.UNKNOWN, Reason.BAD_ANSWER, started, now, detail=_text_of(error))

    async def _decide(self, message: Claimed, result: Result, parts: int) -> Settled:
        jitter = random.random()  # noqa: S311 - spreads retries; no secret
        decision = retry_policy.decide(self._policy, message, result, parts, jitter)
        if decision.stop_bot is not None:
            log.error("bot_stopped", reason=decision.stop_bot.value, detail=result.detail)
        if decision.pause_chat_until:
            await self.note_flood(message.chat_id, decision.pause_chat_until)
        return Settled(message, result, decision, parts)

    async def note_flood(self, chat_id: int, until: float) -> None:
        """Notes flood control of a chat; a second chat in the same time means that it is the bot's.

        Args:
            chat_id: the chat.
            until: its end, seconds since the epoch.
        """
        if self._floods is None:
            return
        now = self._clock.time()
        bot_until = self._floods.refused(chat_id, until=until, now=now)
        if bot_until is not None:
            log.warning("bot_paused", seconds=round(bot_until - now, 1))
            await self._rates.pause(bot_until - now)


def _text_of(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
