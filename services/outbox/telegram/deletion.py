"""Deletion: a message that deletes the parts of an earlier one from its chat, one call for each part.

It is a message of the queue, so it keeps the chat's order, is retried and has a history. The ids are those of
the chat in which the parts were sent: in a supergroup that this chat became they are other messages.
"""

from dataclasses import replace
from typing import Any

import orjson
from telegram.error import TelegramError

from services.kit.clock import Clock
from services.outbox.messages import Claimed, Outcome, Reason, Rendered, Result
from services.outbox.telegram import errors
from services.outbox.telegram.bot_api import Bot

METHOD = "deleteMessage"
_GONE = "message to delete not found"


def body_of(telegram_ids: tuple[int, ...]) -> str:
    """The body of an event that deletes messages.

    Args:
        telegram_ids: of the messages, as Telegram gave them.
    """
    return orjson.dumps({"deletes": telegram_ids}).decode()


def rendered(message: Claimed) -> Rendered:
    """The ids to delete, from the result of :func:`body_of`.

    Raises:
        ValueError: the body is another one.
    """
    body = orjson.loads(message.body)
    ids = body.get("deletes") if isinstance(body, dict) else None
    if not isinstance(ids, list) or not ids or not all(type(one) is int for one in ids):
        raise ValueError("the body names no messages to delete")
    return Rendered((), deletes=tuple(ids))


def request_of(message: Claimed, wanted: Rendered) -> dict[str, Any]:
    """The parameters of the next call."""
    return {"chat_id": message.chat_id, "message_id": wanted.deletes[message.part]}


async def send(bot: Bot, clock: Clock, message: Claimed, wanted: Rendered) -> Result:
    """Deletes the next part. One that is not in the chat any more counts as deleted."""
    started = clock.time()
    if message.edits is None:
        detail = "the group became a supergroup, or the message is not stored any more"
        return Result(Outcome.NOT_SENT, Reason.CANNOT_DELETE, started, started, detail=detail)
    try:
        await bot.call(METHOD, request_of(message, wanted))
    except TelegramError as error:
        failed = errors.translate(error, started, clock.time())
        if _GONE not in failed.detail.lower():
            return failed
        # Somebody deleted it, or an earlier attempt did and its answer was lost.
        return replace(failed, outcome=Outcome.SENT, reason=Reason.NONE)
    return Result(Outcome.SENT, Reason.NONE, started, clock.time(), detail="deleted")
