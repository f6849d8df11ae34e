from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from services.contracts.health import CircuitState
from services.mcp_health.breaker import (
    FAILURE_WINDOW_SECONDS,
    FAILURES_TO_OPEN,
    OPEN_SECONDS,
    SUCCESSES_TO_CLOSE,
    CircuitBreaker,
    before_call,
    failed,
    succeeded,
)

NOW = 1_000.0


def failing(times: int, *, every: float = 1.0, start: float = NOW) -> CircuitBreaker:
    breaker = CircuitBreaker()
    for number in range(times):
        breaker = failed(breaker, start + number * every)
    return breaker


def opened() -> CircuitBreaker:
    return CircuitBreaker(CircuitState.OPEN, opened_at=NOW)


def half_open() -> CircuitBreaker:
    return before_call(opened(), NOW + OPEN_SECONDS)


def test_the_numbers_are_those_of_the_contract() -> None:
    numbers = (FAILURES_TO_OPEN, FAILURE_WINDOW_SECONDS, OPEN_SECONDS, SUCCESSES_TO_CLOSE)
    assert numbers == (5, 60.0, 60.0, 3)


def test_it_starts_closed() -> None:
    assert CircuitBreaker().state is CircuitState.CLOSED


def test_four_failures_leave_it_closed() -> None:
    assert failing(4).state is CircuitState.CLOSED


def test_the_fifth_failure_within_a_minute_opens_it_at_that_moment() -> None:
    breaker = failing(5, every=14.9)
    assert breaker.state is CircuitState.OPEN
    assert breaker.opened_at == NOW + 4 * 14.9


def test_five_failures_over_more_than_a_minute_leave_it_closed() -> None:
    assert failing(50, every=15.0).state is CircuitState.CLOSED


def test_a_success_between_failures_does_not_hide_them() -> None:
    breaker = failed(succeeded(failing(4)), NOW + 10)
    assert breaker.state is CircuitState.OPEN


def test_an_open_one_stays_open_for_a_minute() -> None:
    assert before_call(opened(), NOW + OPEN_SECONDS - 0.001).state is CircuitState.OPEN


def test_after_a_minute_it_is_half_open_and_remembers_when_it_opened() -> None:
    assert half_open() == CircuitBreaker(CircuitState.HALF_OPEN, opened_at=NOW)


def test_two_successes_do_not_close_it() -> None:
    assert succeeded(succeeded(half_open())).state is CircuitState.HALF_OPEN


def test_the_third_success_closes_it_and_forgets_the_failures() -> None:
    assert succeeded(succeeded(succeeded(half_open()))) == CircuitBreaker()


def test_one_failure_while_half_open_opens_it_for_another_minute() -> None:
    again = failed(succeeded(half_open()), NOW + 70)
    assert again == CircuitBreaker(CircuitState.OPEN, opened_at=NOW + 70)
    assert before_call(again, NOW + 129).state is CircuitState.OPEN
    assert before_call(again, NOW + 130).state is CircuitState.HALF_OPEN


def test_after_closing_it_takes_five_failures_again() -> None:
    closed = succeeded(succeeded(succeeded(half_open())))
    for number in range(4):
        closed = failed(closed, NOW + 100 + number)
    assert closed.state is CircuitState.CLOSED
    assert failed(closed, NOW + 105).state is CircuitState.OPEN


def test_a_call_that_was_under_way_when_it_opened_changes_nothing() -> None:
    assert failed(opened(), NOW + 1) == opened()
    assert succeeded(opened()) == opened()


def test_trying_a_closed_one_changes_nothing() -> None:
    assert before_call(failing(3), NOW + 3600) == failing(3)


def test_it_keeps_no_more_failures_than_it_needs() -> None:
    assert len(failing(1000, every=15.0).failures) < FAILURES_TO_OPEN


@given(st.lists(st.floats(min_value=0, max_value=30), max_size=60))
def test_it_opens_exactly_when_five_failures_fall_within_a_minute(pauses: list[float]) -> None:
    now, times, breaker = NOW, list[float](), CircuitBreaker()
    for pause in pauses:
        now += pause
        times.append(now)
        breaker = failed(breaker, now)
        recent = [when for when in times if now - when < FAILURE_WINDOW_SECONDS]
        if breaker.state is CircuitState.OPEN:
            assert len(recent) == FAILURES_TO_OPEN
            return
        assert len(recent) < FAILURES_TO_OPEN


class Life(RuleBasedStateMachine):
    """Any sequence of calls and pauses, against what the contract says in words."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.breaker = CircuitBreaker()
        self.failed_at: list[float] = []

    @rule(seconds=st.floats(min_value=0, max_value=90))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(answered=st.booleans())
    def call(self, answered: bool) -> None:
        before = before_call(self.breaker, self.now)
        if before.state is CircuitState.OPEN:
            assert before.opened_at is not None
            assert self.now - before.opened_at < OPEN_SECONDS
            self.breaker = before
            return
        self.breaker = succeeded(before) if answered else failed(before, self.now)
        if answered:
            assert self.breaker.state is not CircuitState.OPEN
        else:
            self.failed_at.append(self.now)
            assert self.breaker.state is not CircuitState.HALF_OPEN

    @invariant()
    def it_is_open_only_after_a_failure(self) -> None:
        if self.breaker.state is CircuitState.OPEN:
            assert self.breaker.opened_at == self.failed_at[-1]

    @invariant()
    def a_closed_one_was_not_opened(self) -> None:
        assert (self.breaker.opened_at is None) == (self.breaker.state is CircuitState.CLOSED)

    @invariant()
    def successes_count_only_on_trial(self) -> None:
        assert self.breaker.successes < SUCCESSES_TO_CLOSE
        assert not self.breaker.successes or self.breaker.state is CircuitState.HALF_OPEN


TestLife = Life.TestCase
