"""What a client does, as steps that are values: both clients take the same steps, each in its own way.

A flow is a generator: it yields steps, gets the result of each, and returns the result of the whole. So the
rules of retries, waits and streams are written once, for the blocking client and for the asynchronous one.
"""

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from services.client.call import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Open:
    """Send a request and read the head of its answer; the result is a :class:`Head`.

    Args:
        method: HTTP method.
        url: whole URL.
        headers: of the request.
        body: of the request, if there is one.
        read_timeout: seconds without a byte of the answer.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None
    read_timeout: float


@dataclass(frozen=True, slots=True)
class Head:
    """Status and headers of an answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Read:
    """Read on in the answer that was opened last; the result is bytes, and empty at the end."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait so many seconds; there is no result."""

    seconds: float


@dataclass(frozen=True, slots=True)
class GetSite:
    """The result is the client's :class:`services.client.site.Site`."""


@dataclass(frozen=True, slots=True)
class Emit(Generic[T]):
    """Hand an item to the caller of an iteration; there is no result."""

    item: T


#: A step may be a whole call; its result is that of the call.
Step = Open | Read | Pause | GetSite | Call[Any]
#: What a generator that yields steps and returns a result is.
Flow = Generator[Step, Any, T]
#: The same for an iteration: it also emits items, and returns nothing.
Iteration = Generator[Step | Emit[T], Any, None]
