"""The flow of one call: send the request, read the answer, retry, and make the result or the error."""

from dataclasses import replace
from typing import TypeVar

from pydantic import ValidationError

from services.client import errors
from services.client.call import Call
from services.client.errors import ClientError, NoAnswerError, NotReachedError, UnreadableAnswerError
from services.client.site import Site
from services.client.steps import Flow, Head, Pause, Read

T = TypeVar("T")

#: Largest answer that is read, bytes: far above a page of 500 messages.
LARGEST_ANSWER = 64 * 1_048_576


def perform(call: Call[T], site: Site) -> Flow[T]:
    """Makes a call, with retries where they are safe, and returns its result.

    Raises:
        ClientError: the last try failed.
    """
    retries = site.retries if call.patience is None else replace(site.retries, patience=call.patience)
    started, tries = site.clock(), 0
    while True:
        tries += 1
        try:
            return (yield from _try(call, site))
        except (NotReachedError, NoAnswerError, errors.ProblemError) as error:
            if isinstance(error, NoAnswerError):
                retries = replace(retries, patience=max(retries.patience, call.patience_if_unknown))
            pause = retries.pause(
                error,
                repeatable=call.repeatable,
                tries=tries,
                elapsed=site.clock() - started,
                jitter=site.random(),
            )
            if pause is None:
                raise
        yield Pause(pause)


def _try(call: Call[T], site: Site) -> Flow[T]:
    head: Head = yield site.open(call)
    body = yield from whole(call)
    if is_success(head.status) or head.status in call.statuses:
        return _result(call, head, body)
    raise failure(head, body)


def whole(call: Call[T]) -> Flow[bytes]:
    """Reads the rest of an answer.

    Raises:
        UnreadableAnswerError: it is too large.
    """
    parts, size = [], 0
    while part := (yield Read()):
        size += len(part)
        if size > LARGEST_ANSWER:
            raise UnreadableAnswerError(f"{call.method} {call.target}: the answer is too large.")
        parts.append(part)
    return b"".join(parts)


def is_success(status: int) -> bool:
    return 200 <= status < 300  # noqa: PLR2004 - HTTP's class of success


def failure(head: Head, body: bytes) -> ClientError:
    """The error for an answer that is no success."""
    if head.status < 400:  # noqa: PLR2004 - HTTP's classes of errors begin here
        target = head.headers.get("location", "")
        return UnreadableAnswerError(
            f"The answer is a redirect ({head.status}) to {errors.excerpt(target.encode())}: correct the URL."
        )
    return errors.problem(head.status, head.headers, body)


def _result(call: Call[T], head: Head, body: bytes) -> T:
    try:
        return call.read(body)
    except ValidationError as error:
        if not is_success(head.status):
            raise failure(head, body) from None
        fault = errors.invalid_fields(error)[0]
        raise UnreadableAnswerError(
            f"{call.method} {call.target.partition('?')[0]}: the answer is not what this version of"
            f" the client reads ({fault}); it begins: {errors.excerpt(body)}"
        ) from None
