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


#: Telegram's descriptions, in lower case and without the prefix, to what they mean. First match wins.
_DESCRIPTIONS = (
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
    ("can't parse entities", Reason.BAD_MARKUP),
    # Of entities that are given as such, not as markup (telegram-bot-api Client.cpp, TDLib).
    ("can't parse caption entities", Reason.BAD_MARKUP),
    ("can't parse messageentity", Reason.BAD_MARKUP),
    ("entity begin", Reason.BAD_MARKUP),
    ("entity with incorrect", Reason.BAD_MARKUP),
    ("entity_", Reason.BAD_MARKUP),
    ("entities_", Reason.BAD_MARKUP),
    ("message to edit not found", Reason.CANNOT_EDIT),
    ("no text in the message to edit", Reason.CANNOT_EDIT),
    ("message can't be edited", Reason.CANNOT_EDIT),
    ("message_id_invalid", Reason.CANNOT_EDIT),
    ("is too long", Reason.TOO_LONG),
    ("frozen_method_invalid", Reason.BOT_FROZEN),
    ("too many requests", Reason.FLOOD_CONTROL),
    ("request entity too large", Reason.TOO_LARGE),
    ("misdirected request", Reason.MISDIRECTED),
)


def translate(error: TelegramError, started: float, finished: float) -> Result:
    """What an error of python-telegram-bot says of the attempt.

    The order matters: BadRequest is a NetworkError there, and a 413 is one too.
    """
    detail = redact(str(error.message))
    outcome, reason = _by_another(error) or _verdict(error, _meaning(detail))
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


def _by_another(error: TelegramError) -> tuple[Outcome, Reason] | None:
    """A page instead of Telegram's JSON: a gateway refused the call, and Telegram said nothing."""
    is_page = isinstance(error.__cause__, TelegramError)
    return (
        (Outcome.NOT_SENT, Reason.BAD_ANSWER) if is_page and type(error) in {BadRequest, Forbidden} else None
    )


#: Those whose class says it all. Subclasses before their bases.
_CLASSES: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    (RetryAfter, Outcome.NOT_SENT, Reason.FLOOD_CONTROL),
    (ChatMigrated, Outcome.NOT_SENT, Reason.CHAT_MIGRATED),
    (InvalidToken, Outcome.NOT_SENT, Reason.INVALID_TOKEN),
    (Conflict, Outcome.NOT_SENT, Reason.CONFLICT),
    (NotReachedError, Outcome.NOT_SENT, Reason.CONNECT_FAILED),
    (NoAnswerError, Outcome.UNKNOWN, Reason.NO_ANSWER),
)
#: Those whose description decides, with the reason where it says nothing known.
_DESCRIBED: tuple[tuple[type[TelegramError], Outcome, Reason], ...] = (
    # Whatever it is, this message is not taken; that the chat takes no other has to be said.
    (Forbidden, Outcome.NOT_SENT, Reason.NO_RIGHTS),
    (BadRequest, Outcome.NOT_SENT, Reason.BAD_REQUEST),
    (NetworkError, Outcome.UNKNOWN, Reason.SERVER_ERROR),
)


def _verdict(error: TelegramError, said: Reason | None) -> tuple[Outcome, Reason]:
    for kind, outcome, reason in _CLASSES:
        if isinstance(error, kind):
            return outcome, reason
    for kind, outcome, reason in _DESCRIBED:
        if isinstance(error, kind):
            return (outcome, reason) if said is None else (Outcome.NOT_SENT, said)
    return Outcome.UNKNOWN, Reason.BAD_ANSWER


def _meaning(description: str) -> Reason | None:
    lowered = description.lower()
    return next((reason for part, reason in _DESCRIPTIONS if part in lowered), None)
