"""Answers of a Bot API server as typed, bounded values, or as the error that they report. Pure.

A server is not trusted: it may be the user's own, and a proxy may answer in its place. An answer that is not
one of the Bot API raises :class:`BadAnswerError`, which concerns a single call.
"""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
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

from services.outbox.telegram import values
from services.outbox.telegram.errors import BadAnswerError, FloodError

#: Longest ``retry_after`` that is believed, seconds: a message is tried once a day at least.
LONGEST_RETRY_AFTER = 86_400
#: Longest description of an error that is read, and longest part of a page that is no JSON, characters.
LONGEST_DESCRIPTION = 4_096
#: Longest username that is read; Telegram's have at most 32 characters.
LONGEST_USERNAME = 64
#: Longest file id that is kept; Telegram's have fewer than 100 characters.
LONGEST_FILE_ID = 512
#: Most messages of an album.
LARGEST_ALBUM = 10
#: Statuses whose class decides, whatever else the answer contains.
_BY_STATUS: dict[int, type[TelegramError]] = {
    HTTPStatus.UNAUTHORIZED: InvalidToken,
    HTTPStatus.NOT_FOUND: InvalidToken,
    HTTPStatus.CONFLICT: Conflict,
}
_REFUSALS: dict[int, type[TelegramError]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.FORBIDDEN: Forbidden,
}
_OTHERS: dict[int, type[TelegramError]] = {HTTPStatus.TOO_MANY_REQUESTS: FloodError}


@dataclass(frozen=True, slots=True)
class Me:
    """The bot as getMe describes it; ``username`` is without the @."""

    id: int
    username: str | None


def result_of(status: int, payload: bytes) -> Any:
    """Returns the ``result`` of an answer, as JSON.

    Args:
        status: of the HTTP response.
        payload: its body.

    Raises:
        BadAnswerError: the answer is not one of the Bot API.
        TelegramError: the error that the answer reports; waits and ids in it are within their bounds.
    """
    answer = _object_of(payload)
    if 200 <= status < 300:  # noqa: PLR2004 - the statuses of success
        if answer is None or answer.get("ok") is not True or "result" not in answer:
            raise BadAnswerError(f"not an answer of the Bot API: {_start(payload)}")
        return answer["result"]
    raise _error_of(status, answer, payload)


def sent_message_id(result: Any) -> int:
    """Returns the id of the message that a call sent or edited.

    Raises:
        BadAnswerError: the result is no message.
    """
    try:
        return values.positive_id(result["message_id"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError("the answer has no message id that Telegram gives") from error


def sent_message_ids(result: Any) -> tuple[int, ...]:
    """Returns the ids of the messages that a call sent: one, or those of an album.

    Raises:
        BadAnswerError: the result is no message, and no list of some.
    """
    if not isinstance(result, list):
        return (sent_message_id(result),)
    if not 1 <= len(result) <= LARGEST_ALBUM:
        raise BadAnswerError(f"the answer has {len(result)} messages instead of an album's")
    return tuple(sent_message_id(one) for one in result)


def file_id_of(message: Any, kind: str) -> str | None:
    """Returns the id that Telegram gave to the file of a sent message; None where it names none.

    Args:
        message: as it was answered.
        kind: such as ``photo``, whose sizes are a list.
    """
    found = message.get(kind) if isinstance(message, dict) else None
    largest = found[-1] if isinstance(found, list) and found else found
    file_id = largest.get("file_id") if isinstance(largest, dict) else None
    return file_id if isinstance(file_id, str) and 0 < len(file_id) <= LONGEST_FILE_ID else None


def me_of(result: Any) -> Me:
    """Returns the bot that getMe describes.

    Raises:
        BadAnswerError: the result is no bot.
    """
    try:
        return Me(
            values.positive_id(result["id"]), values.optional_text(result.get("username"), LONGEST_USERNAME)
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadAnswerError("the answer to getMe describes no bot") from error


def _object_of(payload: bytes) -> dict[str, Any] | None:
    try:
        answer = orjson.loads(payload)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _start(payload: bytes) -> str:
    return values.text(payload[:LONGEST_DESCRIPTION].decode(errors="replace"), LONGEST_DESCRIPTION)


def _error_of(status: int, answer: dict[str, Any] | None, payload: bytes) -> TelegramError:
    """The error of an answer whose status is none of success."""
    phrase = _phrase(status)
    if answer is None:
        words = f"{phrase}: {_start(payload)}"
        # A gateway refused the call, not Telegram: the message itself may be good.
        return BadAnswerError(words, refused=True) if status in _REFUSALS else _by_status(status, words)
    special: TelegramError | None
    try:
        words = values.optional_text(answer.get("description"), LONGEST_DESCRIPTION) or phrase
        special = _of_parameters(answer.get("parameters"))
    except ValueError as error:
        words = f"{phrase}: {error}"
        special = BadAnswerError(words, refused=True)
    return _by_status(status, words) if special is None or _decides(status) else special


def _decides(status: int) -> bool:
    """Whether a status alone says what the answer means."""
    return status in _BY_STATUS or not (HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR)


def _by_status(status: int, words: str) -> TelegramError:
    return (_BY_STATUS | _REFUSALS | _OTHERS).get(status, NetworkError)(words)


def _phrase(status: int) -> str:
    try:
        return f"{HTTPStatus(status).phrase} ({status})"
    except ValueError:
        return f"Unknown HTTPError ({status})"


def _of_parameters(parameters: Any) -> TelegramError | None:
    """The error that the ``parameters`` of an answer specify; None where they specify none.

    Raises:
        ValueError: one of them has the wrong type or is out of bounds.
    """
    if parameters is None:
        return None
    if not isinstance(parameters, dict):
        raise ValueError("`parameters` is no object")  # noqa: TRY004 - as for every other value
    moved, wait = parameters.get("migrate_to_chat_id"), parameters.get("retry_after")
    if moved is not None:
        return ChatMigrated(values.group_id(moved))
    seconds = 0 if wait is None else _seconds(wait)
    return RetryAfter(seconds) if seconds else None


def _seconds(value: Any) -> int:
    """Whole seconds from 0 to :data:`LONGEST_RETRY_AFTER`; 0 says nothing of a wait.

    Raises:
        ValueError: the value is no number.
    """
    # Not an integer only: JSON numbers of more than 64 bits are read as floats.
    if type(value) not in {int, float}:
        raise ValueError("`retry_after` is no number")
    return math.ceil(min(max(float(value), 0.0), LONGEST_RETRY_AFTER))
