"""The rate limit of callers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.kit.errors import Problem
from services.kit.web.rate_limit import KNOWN_CALLERS, RateLimiter, SecurityMetrics
from tests.servers import ManualClock

ALICE, CHARLIE = "192.0.2.1", "192.0.2.66"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def limiter(registry: CollectorRegistry, clock: ManualClock) -> RateLimiter:
    return RateLimiter(SecurityMetrics(registry), clock, 5.0)


def passes(limiter: RateLimiter, caller: str) -> bool:
    try:
        limiter.admit(caller)
    except Problem:
        return False
    return True


def test_a_burst_of_two_seconds_passes_and_the_next_request_does_not(limiter: RateLimiter) -> None:
    assert [passes(limiter, ALICE) for _ in range(11)] == [True] * 10 + [False]


def test_a_refusal_is_429_and_says_when_to_come_back(limiter: RateLimiter) -> None:
    for _ in range(10):
        limiter.admit(ALICE)
    with pytest.raises(Problem) as refused:
        limiter.admit(ALICE)
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "1"}


def test_after_the_time_named_the_caller_passes_again(limiter: RateLimiter, clock: ManualClock) -> None:
    for _ in range(10):
        limiter.admit(ALICE)
    clock.advance(0.2)  # one token at five a second
    assert passes(limiter, ALICE)
    assert not passes(limiter, ALICE)


def test_one_caller_s_rate_is_not_another_one_s(limiter: RateLimiter) -> None:
    for _ in range(10):
        limiter.admit(CHARLIE)
    assert passes(limiter, ALICE)


def test_a_rate_of_zero_is_no_limit(registry: CollectorRegistry, clock: ManualClock) -> None:
    unlimited = RateLimiter(SecurityMetrics(registry), clock)
    assert all(passes(unlimited, ALICE) for _ in range(1000))


def test_a_rate_below_one_still_lets_single_requests_pass(
    registry: CollectorRegistry, clock: ManualClock
) -> None:
    slow = RateLimiter(SecurityMetrics(registry), clock, 0.1)
    assert [passes(slow, ALICE), passes(slow, ALICE)] == [True, False]
    clock.advance(10)
    assert passes(slow, ALICE)


def test_refusals_are_counted_from_zero(limiter: RateLimiter, registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("rate_limit_hits_total") == 0
    for _ in range(13):
        passes(limiter, ALICE)
    assert registry.get_sample_value("rate_limit_hits_total") == 3


@given(
    rate=st.floats(min_value=0.1, max_value=100),
    pauses=st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=60),
)
def test_nobody_gets_more_than_the_burst_and_the_rate_allow(rate: float, pauses: list[float]) -> None:
    clock = ManualClock()
    limiter = RateLimiter(SecurityMetrics(CollectorRegistry()), clock, rate)
    passed = 0
    for pause in pauses:
        clock.advance(pause)
        passed += passes(limiter, ALICE)
    assert passed <= max(1.0, 2 * rate) + sum(pauses) * rate + 1e-6


def test_memory_is_bounded_and_the_oldest_callers_are_forgotten_first(limiter: RateLimiter) -> None:
    for _ in range(10):
        limiter.admit(ALICE)
    assert not passes(limiter, ALICE)
    for number in range(KNOWN_CALLERS):
        limiter.admit(f"caller {number}")
    assert passes(limiter, ALICE)  # forgotten, and so as fresh as any


def test_a_caller_that_goes_on_is_not_forgotten_for_those_that_come_and_go(limiter: RateLimiter) -> None:
    for _ in range(10):
        limiter.admit(ALICE)
    for number in range(KNOWN_CALLERS):
        limiter.admit(f"caller {number}")
        if number % 1_000 == 0:
            assert not passes(limiter, ALICE)
    assert not passes(limiter, ALICE)
