"""Errors of the Bot API as reasons and outcomes. Each row of telegram.md 1.3 is a test."""

from datetime import timedelta

from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
)

from services.kit.logs import redact
from services.outbox.messages import Outcome, Reason, Result


class NotReachedError(NetworkError):
    """Nothing of the request left this machine for the API server; it is safe to send again."""


class NoAnswerError(NetworkError):
    """The request left, or part of it; no whole answer came. The server may have acted on it."""


class FloodError(NetworkError):
    """The server refused the call because there were too many, and named no time."""


class BadAnswerError(TelegramError):
    """An answer came that is not one of the Bot API.

    Args:
        message: what is wrong with it.
        refused: whether its status says that the server did not carry the call out.
    """

    def __init__(self, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.refused = refused


#: Longest detail of a result, characters.
MAX_DETAIL = 1_000

#: Parts of Telegram's descriptions, in lower case, and the reason that each means. The first match counts.
_DESCRIPTIONS = (
    # Of entities (telegram-bot-api Client.cpp, TDLib MessageEntity.cpp). First, because they repeat a part of
    # the message, such as a URL, which may contain the words of another row.
    ("can't parse entities", Reason.BAD_MARKUP),
    ("can't parse caption entities", Reason.BAD_MARKUP),
    ("can't parse messageentity", Reason.BAD_MARKUP),
    ("entity url", Reason.BAD_MARKUP),
    ("entity begin", Reason.BAD_MARKUP),
    ("entity with incorrect", Reason.BAD_MARKUP),
    ("messageentity", Reason.BAD_MARKUP),
    ("custom emoji identifier", Reason.BAD_MARKUP),
    ("entity_", Reason.BAD_MARKUP),
    ("entities_", Reason.BAD_MARKUP),
    ("bot was blocked by the user", Reason.BOT_BLOCKED),
    ("user is deactivated", Reason.CHAT_GONE),
    ("group chat was deleted", Reason.CHAT_GONE),
    ("bot was kicked", Reason.CHAT_GONE),
    ("bot is not a member", Reason.CHAT_GONE),
    ("can't initiate conversation", Reason.BOT_BLOCKED),
    ("can't send messages to the bot", Reason.CHAT_GONE),
    ("can't send messages to bots", Reason.CHAT_GONE),
    ("chat not found", Reason.CHAT_NOT_FOUND),
    ("chat_id is empty", Reason.CHAT_NOT_FOUND),
    ("peer_id_invalid", Reason.CHAT_NOT_FOUND),
    ("message thread not found", Reason.THREAD_NOT_FOUND),
    ("topic_closed", Reason.THREAD_NOT_FOUND),
    ("not enough rights", Reason.NO_RIGHTS),
    ("have no write access", Reason.NO_RIGHTS),
    ("need administrator rights", Reason.NO_RIGHTS),
    ("chat_write_forbidden", Reason.NO_RIGHTS),
    ("message to edit not found", Reason.CANNOT_EDIT),
    ("no text in the message to edit", Reason.CANNOT_EDIT),
    ("message can't be edited", Reason.CANNOT_EDIT),
    ("message_id_invalid", Reason.CANNOT_EDIT),
    ("message can't be deleted", Reason.CANNOT_DELETE),
    ("is too long", Reason.TOO_LONG),
    ("message_too_long", Reason.TOO_LONG),
    ("caption_too_long", Reason.TOO_LONG),
    ("frozen_method_invalid", Reason.BOT_FROZEN),
    ("request entity too large", Reason.TOO_LARGE),
    ("misdirected request", Reason.MISDIRECTED),
)


def translate(error: TelegramError, started: float, finished: float) -> Result:
    """Maps the error of a call to the result of the attempt.

    Args:
        error: as the call raised it.
        started: when the attempt began, seconds since the epoch.
        finished: when it ended.
    """
    detail = redact(str(error.message))[:MAX_DETAIL]
    outcome, reason = _classify(error, _reason_in(detail))
    return Result(
        outcome,
        reason,
        started,
        finished,
        retry_after=retry_after_seconds(error),
        migrate_to=error.new_chat_id if isinstance(error, ChatMigrated) else None,
        detail=detail,
    )


def retry_after_seconds(error: TelegramError) -> float | None:
    """Seconds that Telegram asks to wait before the next attempt; None when it names no time."""
    if not isinstance(error, RetryAfter):
        return None
    # Whole seconds, or a timedelta where the environment has PTB_TIMEDELTA.
    wait = error.retry_after
    return wait.total_seconds() if isinstance(wait, timedelta) else float(wait)


#: Errors whose class decides. Subclasses stand before their bases: BadRequest is a NetworkError.
_BY_CLASS: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    (RetryAfter, Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
    (FloodError, Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
    (ChatMigrated, Outcome.NOT_SENT, Reason.CHAT_MIGRATED),
    (InvalidToken, Outcome.NOT_SENT, Reason.INVALID_TOKEN),
    (Conflict, Outcome.NOT_SENT, Reason.CONFLICT),
    (NotReachedError, Outcome.NOT_SENT, Reason.CONNECT_FAILED),
    (NoAnswerError, Outcome.UNKNOWN, Reason.NO_ANSWER),
)
#: Errors whose description decides; outcome and reason of an unknown description.
_BY_DESCRIPTION: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    # An unknown 403 refuses this message; only a known one says that the chat refuses all.
    (Forbidden, Outcome.NOT_SENT, Reason.NO_RIGHTS),
    (BadRequest, Outcome.NOT_SENT, Reason.BAD_REQUEST),
    (NetworkError, Outcome.UNKNOWN, Reason.SERVER_ERROR),
)


def _classify(error: TelegramError, described: Reason | None) -> tuple[Outcome, Reason]:
    if isinstance(error, BadAnswerError):
        return Outcome.NOT_SENT if error.refused else Outcome.UNKNOWN, Reason.BAD_ANSWER
    for kind, outcome, reason in _BY_CLASS:
        if isinstance(error, kind):
            return outcome, reason
    for kind, outcome, reason in _BY_DESCRIPTION:
        if isinstance(error, kind):
            return (outcome, reason) if described is None else (Outcome.NOT_SENT, described)
    return Outcome.UNKNOWN, Reason.BAD_ANSWER


def _reason_in(description: str) -> Reason | None:
    lowered = description.lower()
    return next((reason for part, reason in _DESCRIPTIONS if part in lowered), None)
