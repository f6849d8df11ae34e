"""When a dependency that fails is left alone for a while. Values in, values out.

Times are seconds on any clock that does not go back.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

FAILURES_TO_OPEN = 5
FAILURE_WINDOW_SECONDS = 60.0
OPEN_SECONDS = 60.0
SUCCESSES_TO_CLOSE = 3


class State(StrEnum):
    CLOSED = "closed"  #: calls go through
    OPEN = "open"  #: no calls
    HALF_OPEN = "half_open"  #: calls go through on trial: the first failure opens it again


@dataclass(frozen=True, slots=True)
class Breaker:
    state: State = State.CLOSED
    failures: tuple[float, ...] = ()  #: when they were, within the window; only while closed
    opened_at: float | None = None  #: the latest opening; none while closed
    successes: int = 0  #: in a row, while half-open


def tried(breaker: Breaker, now: float) -> Breaker:
    """The breaker as it is before a call: an open one is half-open once it has waited."""
    if breaker.opened_at is None or breaker.state is not State.OPEN:
        return breaker
    return replace(breaker, state=State.HALF_OPEN) if now - breaker.opened_at >= OPEN_SECONDS else breaker


def succeeded(breaker: Breaker) -> Breaker:
    """After a call that was answered; a refusal (4xx) is an answer."""
    if breaker.state is not State.HALF_OPEN:
        return breaker
    successes = breaker.successes + 1
    return Breaker() if successes >= SUCCESSES_TO_CLOSE else replace(breaker, successes=successes)


def failed(breaker: Breaker, now: float) -> Breaker:
    """After a call that was not answered, or not by what should be there."""
    if breaker.state is State.HALF_OPEN:
        return Breaker(State.OPEN, opened_at=now)
    if breaker.state is State.OPEN:
        return breaker
    recent = (*(when for when in breaker.failures if now - when < FAILURE_WINDOW_SECONDS), now)
    if len(recent) >= FAILURES_TO_OPEN:
        return Breaker(State.OPEN, opened_at=now)
    return replace(breaker, failures=recent)
