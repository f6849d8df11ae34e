"""What can go wrong with a call, as exceptions. Each text is one line that says what to change."""

import email.utils
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel, ValidationError

from services.kit.field_errors import entries

#: Longest part of an unexpected answer that an error repeats, characters.
LONGEST_EXCERPT = 200


class ClientError(Exception):
    """Any error of this client."""


class ConfigurationError(ClientError):
    """The URL or the key is missing or unusable. Nothing was sent."""


class NotReachedError(ClientError):
    """No connection to the service. Nothing was sent, so repeating the call is safe."""


class NoAnswerError(ClientError):
    """The request was sent, and its answer did not arrive: the outcome is unknown."""


class UnreadableAnswerError(ClientError):
    """The answer is none that this version knows; perhaps another program answers at this URL."""


@dataclass(frozen=True, slots=True)
class FieldError:
    """One wrong field.

    Args:
        loc: where the field is, such as ``("data", "commit_hash")``.
        msg: what is wrong with it.
    """

    loc: tuple[str | int, ...]
    msg: str

    def __str__(self) -> str:
        place = ".".join(str(part) for part in self.loc if part != "body")
        return f"{place}: {self.msg}" if place else self.msg


class ProblemError(ClientError):
    """The service refused the request, with a problem document (RFC 9457).

    Args:
        status: HTTP status.
        title: the kind of problem in a few words.
        detail: what was wrong this time, and what to do.
        errors: one entry for each wrong field.
        retry_after: seconds after which to try again; None: the service does not say.
        document: all members of the problem document.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str = "",
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after: float | None = None,
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self.status = status
        self.title = title
        self.detail = detail
        self.errors = errors
        self.retry_after = retry_after
        self.document = dict(document or {})
        super().__init__(self._text())

    def _text(self) -> str:
        reason = "; ".join(str(error) for error in self.errors) or self.detail
        text = f"{self.title} ({self.status}): {reason}" if reason else f"{self.title} ({self.status})"
        return one_line(text)


class NotAuthorizedError(ProblemError):
    """401: the key is missing, wrong, expired or revoked."""


class ForbiddenError(ProblemError):
    """403: the key lacks a scope, which ``scope`` names."""

    @property
    def scope(self) -> str:
        """The scope that the key lacks; empty if the service does not name it."""
        return str(self.document.get("scope", ""))


class NotFoundError(ProblemError):
    """404: the service has no such thing."""


class ConflictError(ProblemError):
    """409: the state does not allow it; ``document`` has the state."""


class InvalidInputError(ProblemError):
    """422: ``errors`` has one entry for each wrong field."""


class TooManyRequestsError(ProblemError):
    """429: the key is over its rate."""


class UnavailableError(ProblemError):
    """503: nothing was stored; try again."""


_BY_STATUS: Mapping[int, type[ProblemError]] = {
    401: NotAuthorizedError,
    403: ForbiddenError,
    404: NotFoundError,
    409: ConflictError,
    422: InvalidInputError,
    429: TooManyRequestsError,
    503: UnavailableError,
}


class _Entry(BaseModel):
    loc: list[str | int] = []
    msg: str = ""


class _Document(BaseModel, extra="allow"):
    title: str = ""
    detail: str = ""
    errors: list[_Entry] = []


def problem(status: int, headers: Mapping[str, str], body: bytes) -> ProblemError:
    """The error for an answer with a status of 400 or more, also if its body is no problem document."""
    try:
        document = _Document.model_validate_json(body)
    except ValidationError:
        document = _Document(detail=excerpt(body))
    return _BY_STATUS.get(status, ProblemError)(
        status,
        document.title or phrase(status),
        document.detail,
        errors=tuple(FieldError(tuple(entry.loc), entry.msg) for entry in document.errors),
        retry_after=_seconds(headers.get("retry-after", "")),
        document=document.model_dump(exclude_unset=True),
    )


def phrase(status: int) -> str:
    """The standard's words for a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unexpected status"


def excerpt(body: bytes) -> str:
    """The beginning of an answer as one printable line."""
    line = one_line(body[: 4 * LONGEST_EXCERPT].decode("utf-8", "replace"))
    return line if len(line) <= LONGEST_EXCERPT else f"{line[:LONGEST_EXCERPT]}…"


def one_line(text: str) -> str:
    """The text without line ends and control characters, which a server could send to a terminal."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())


def _seconds(retry_after: str) -> float | None:
    """Seconds of a ``Retry-After`` header, which is a number or a date; None if it is neither."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < len("1000000000"):
        return float(retry_after)
    try:
        moment = email.utils.parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def invalid_fields(error: ValidationError) -> tuple[FieldError, ...]:
    """The wrong fields of a model that could not be made, so that both sides' errors read the same."""
    return tuple(
        FieldError(tuple(entry["loc"]), entry["msg"])
        for entry in entries(error.errors(include_url=False, include_input=False))
    )
