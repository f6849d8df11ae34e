"""Batches: the updates in an answer to getUpdates. Pure.

An update that cannot be read does not hold up those after it: its id is stored, so that Telegram is not asked
for it again. One without a usable id is left out.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from services.outbox.telegram import answers, values
from services.outbox.telegram.errors import BadAnswerError

#: Telegram's ids of updates are 32 bits; an offset made of a larger one would confirm what was never read.
LARGEST_UPDATE_ID = 2**31 - 1
#: Updates of one answer, as they are asked for; those beyond it come again.
LARGEST_BATCH = 100

#: Texts, which may contain brackets, and the brackets outside of them.
_TOKENS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_UPDATE_ID = re.compile(rb'"update_id"\s*:\s*(\d{1,10})(?![\d.eE])')
#: ``{"result":[`` is two levels deep; an update begins at the third.
_LEVEL_OF_UPDATES = 3


@dataclass(frozen=True, slots=True)
class Batch:
    """The updates of one answer, by ascending id.

    Args:
        updates: to store; of one that cannot be read only the ``update_id``.
        unreadable: how many of the answer's updates could not be read, left out or not.
    """

    updates: Sequence[Mapping[str, Any]] = ()
    unreadable: int = 0

    @property
    def next_offset(self) -> int | None:
        """The offset that confirms the updates; None where there is none to confirm."""
        return _id_of(self.updates[-1]) + 1 if self.updates else None


def read(status: int, payload: bytes) -> Batch:
    """Reads an answer to getUpdates.

    Args:
        status: of the HTTP response.
        payload: its body.

    Raises:
        TelegramError: as :func:`services.outbox.telegram.answers.result_of`, and where the result is no list.
    """
    try:
        result = answers.result_of(status, payload)
    except BadAnswerError as error:
        pieces = [] if error.refused else _pieces(payload)
        if not pieces:
            raise
        return _batch([_parsed(piece) for piece in pieces])
    if not isinstance(result, list):
        raise BadAnswerError("the answer to getUpdates has no list of updates")
    return _batch([checked(update) for update in result])


@dataclass(frozen=True, slots=True)
class CheckedUpdate:
    """An update as it can be stored.

    Args:
        update: as it came, or its id alone; None where it has no usable id.
        readable: whether it is stored as it came.
    """

    update: Mapping[str, Any] | None
    readable: bool = False


def checked(update: Any) -> CheckedUpdate:
    """Checks whether an update can be stored."""
    try:
        update_id = values.integer(update["update_id"], 0, LARGEST_UPDATE_ID)
    except (KeyError, TypeError, ValueError):
        return CheckedUpdate(None)
    try:
        orjson.dumps(update)
    except TypeError:  # nested too deeply to be written
        return CheckedUpdate({"update_id": update_id})
    return CheckedUpdate(update, readable=True)


def _batch(found: Sequence[CheckedUpdate]) -> Batch:
    updates = sorted((one.update for one in found if one.update is not None), key=_id_of)
    return Batch(updates[:LARGEST_BATCH], sum(not one.readable for one in found))


def _id_of(update: Mapping[str, Any]) -> int:
    return int(update["update_id"])


def _pieces(payload: bytes) -> list[bytes]:
    """The objects in the list of an answer that is no JSON as a whole: at least one of them is malformed."""
    pieces: list[bytes] = []
    level = start = 0
    for token in _TOKENS.finditer(payload):
        if token[0] in {b"{", b"["}:
            level += 1
            if level == _LEVEL_OF_UPDATES:
                start = token.start()
        elif token[0] in {b"}", b"]"}:
            if level == _LEVEL_OF_UPDATES:
                pieces.append(payload[start : token.end()])
            level -= 1
    return pieces


def _parsed(piece: bytes) -> CheckedUpdate:
    try:
        return checked(orjson.loads(piece))
    except ValueError:
        found = _UPDATE_ID.search(piece)
        return CheckedUpdate(checked({"update_id": int(found[1])}).update if found else None)
