"""Circuit breaker: stops calls to a failing dependency for a while. Pure.

Times are seconds on a monotonic clock.
"""

from dataclasses import dataclass, replace

from services.contracts.health import CircuitState

FAILURES_TO_OPEN = 5
FAILURE_WINDOW_SECONDS = 60.0
OPEN_SECONDS = 60.0
SUCCESSES_TO_CLOSE = 3


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    state: CircuitState = CircuitState.CLOSED
    failures: tuple[float, ...] = ()  #: times of failures within the window; only while closed
    opened_at: float | None = None  #: time of the last opening; None while closed
    successes: int = 0  #: in a row, while half-open


def before_call(breaker: CircuitBreaker, now: float) -> CircuitBreaker:
    """Returns the breaker before a call: half-open if it was open for ``OPEN_SECONDS``."""
    if breaker.opened_at is None or breaker.state is not CircuitState.OPEN:
        return breaker
    waited = now - breaker.opened_at >= OPEN_SECONDS
    return replace(breaker, state=CircuitState.HALF_OPEN) if waited else breaker


def succeeded(breaker: CircuitBreaker) -> CircuitBreaker:
    """Returns the breaker after an answer; a refusal (4xx) is an answer too."""
    if breaker.state is not CircuitState.HALF_OPEN:
        return breaker
    successes = breaker.successes + 1
    return CircuitBreaker() if successes >= SUCCESSES_TO_CLOSE else replace(breaker, successes=successes)


def failed(breaker: CircuitBreaker, now: float) -> CircuitBreaker:
    """Returns the breaker after a call without an answer, or with an invalid one."""
    if breaker.state is CircuitState.HALF_OPEN:
        return CircuitBreaker(CircuitState.OPEN, opened_at=now)
    if breaker.state is CircuitState.OPEN:
        return breaker
    recent = (*(when for when in breaker.failures if now - when < FAILURE_WINDOW_SECONDS), now)
    if len(recent) >= FAILURES_TO_OPEN:
        return CircuitBreaker(CircuitState.OPEN, opened_at=now)
    return replace(breaker, failures=recent)
