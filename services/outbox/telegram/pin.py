"""Pin: pins a message in its chat, as the step after its last part.

A message in the chat has reached people: a refusal to pin it is shown in its history, and ends nothing.
"""

from dataclasses import replace

from telegram.error import TelegramError

from services.kit.clock import Clock
from services.outbox.messages import Claimed, Outcome, Reason, Rendered, Result
from services.outbox.telegram import errors
from services.outbox.telegram.bot_api import Bot

METHOD = "pinChatMessage"
#: Tries of a pin that gets no answer, or that the server cannot do now.
MOST_TRIES = 5
#: The bot or the chat is to wait; a pin waits as every part does.
_WAITS = frozenset({Reason.FLOOD_CONTROL, Reason.INVALID_TOKEN, Reason.BOT_FROZEN})
#: The same pin may succeed later. A second one changes nothing.
_RETRIED = frozenset(
    {Reason.CONNECT_FAILED, Reason.NO_ANSWER, Reason.SERVER_ERROR, Reason.BAD_ANSWER, Reason.CONFLICT}
)


def steps(message: Claimed, rendered: Rendered) -> int:
    """The calls that deliver a message: one for each part, and the pin. An edit is not pinned again."""
    return len(rendered.parts) + (rendered.options.pinned and message.edits is None)


def is_next(message: Claimed, rendered: Rendered) -> bool:
    """Whether all parts are in the chat, and the pin is the next step."""
    return steps(message, rendered) > len(rendered.parts) == message.part


async def send(bot: Bot, clock: Clock, message: Claimed) -> Result:
    """Pins the first part of a message; one that Telegram refuses to pin counts as sent."""
    started = clock.time()
    data = {
        "chat_id": message.chat_id,
        "message_id": next(iter(message.telegram_message_ids), 0),
        "disable_notification": message.silent,
    }
    try:
        await bot.call(METHOD, data)
    except TelegramError as error:
        return _result(message, errors.translate(error, started, clock.time()))
    return Result(Outcome.SENT, Reason.NONE, started, clock.time(), detail="pinned")


def _result(message: Claimed, failed: Result) -> Result:
    if failed.reason in _WAITS:
        return failed
    if failed.reason in _RETRIED and message.retries < MOST_TRIES:
        return replace(failed, outcome=Outcome.NOT_SENT)
    return Result(
        Outcome.SENT,
        Reason.NONE,
        failed.started_at,
        failed.finished_at,
        detail=f"not pinned: {failed.detail}"[: errors.MAX_DETAIL],
    )
