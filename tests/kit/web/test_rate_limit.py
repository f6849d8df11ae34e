import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from services.kit.errors import Problem
from services.kit.web.rate_limit import (
    BLOCK_SECONDS,
    FAILURE_WINDOW_SECONDS,
    FAILURES_BEFORE_BLOCK,
    KNOWN_CALLERS,
    Guard,
)
from tests.servers import ManualClock

ALICE, CHARLIE = "192.0.2.1", "192.0.2.66"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def guard(registry: CollectorRegistry, clock: ManualClock) -> Guard:
    return Guard(registry, clock, 5.0)


def passes(guard: Guard, caller: str) -> bool:
    try:
        guard.admit(caller)
    except Problem:
        return False
    return True


def blocked(guard: Guard, address: str) -> bool:
    try:
        guard.check_blocked(address)
    except Problem:
        return True
    return False


def fail(guard: Guard, address: str, times: int) -> None:
    for _ in range(times):
        guard.failed(address, "/things")


def test_a_burst_of_two_seconds_passes_and_the_next_request_does_not(guard: Guard) -> None:
    assert [passes(guard, ALICE) for _ in range(11)] == [True] * 10 + [False]


def test_a_refusal_is_429_and_says_when_to_come_back(guard: Guard) -> None:
    for _ in range(10):
        guard.admit(ALICE)
    with pytest.raises(Problem) as refused:
        guard.admit(ALICE)
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": "1"}


def test_after_the_time_named_the_caller_passes_again(guard: Guard, clock: ManualClock) -> None:
    for _ in range(10):
        guard.admit(ALICE)
    clock.advance(0.2)  # one token at five a second
    assert passes(guard, ALICE)
    assert not passes(guard, ALICE)


def test_one_caller_s_rate_is_not_another_one_s(guard: Guard) -> None:
    for _ in range(10):
        guard.admit(CHARLIE)
    assert passes(guard, ALICE)


def test_a_rate_of_zero_is_no_limit(registry: CollectorRegistry, clock: ManualClock) -> None:
    unlimited = Guard(registry, clock)
    assert all(passes(unlimited, ALICE) for _ in range(1000))


def test_a_rate_below_one_still_lets_single_requests_pass(
    registry: CollectorRegistry, clock: ManualClock
) -> None:
    slow = Guard(registry, clock, 0.1)
    assert [passes(slow, ALICE), passes(slow, ALICE)] == [True, False]
    clock.advance(10)
    assert passes(slow, ALICE)


def test_refusals_are_counted_from_zero(guard: Guard, registry: CollectorRegistry) -> None:
    assert registry.get_sample_value("rate_limit_hits_total") == 0
    for _ in range(13):
        passes(guard, ALICE)
    assert registry.get_sample_value("rate_limit_hits_total") == 3


@given(
    rate=st.floats(min_value=0.1, max_value=100),
    pauses=st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=60),
)
def test_nobody_gets_more_than_the_burst_and_the_rate_allow(rate: float, pauses: list[float]) -> None:
    clock = ManualClock()
    guard = Guard(CollectorRegistry(), clock, rate)
    passed = 0
    for pause in pauses:
        clock.advance(pause)
        passed += passes(guard, ALICE)
    assert passed <= max(1.0, 2 * rate) + sum(pauses) * rate + 1e-6


def test_the_tenth_failed_login_blocks_the_address(guard: Guard) -> None:
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK - 1)
    assert not blocked(guard, CHARLIE)
    fail(guard, CHARLIE, 1)
    assert blocked(guard, CHARLIE)
    assert not blocked(guard, ALICE)


def test_a_block_says_how_long_it_lasts(guard: Guard, clock: ManualClock) -> None:
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(100)
    with pytest.raises(Problem) as refused:
        guard.check_blocked(CHARLIE)
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": str(int(BLOCK_SECONDS) - 100 + 1)}


def test_a_block_ends(guard: Guard, clock: ManualClock) -> None:
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(BLOCK_SECONDS)
    assert not blocked(guard, CHARLIE)


def test_failures_over_a_longer_time_are_people_who_mistype(guard: Guard, clock: ManualClock) -> None:
    for _ in range(4):
        fail(guard, ALICE, FAILURES_BEFORE_BLOCK - 1)
        clock.advance(FAILURE_WINDOW_SECONDS + 1)
    assert not blocked(guard, ALICE)


def test_a_block_is_counted_once_however_long_the_attack_goes_on(
    guard: Guard, registry: CollectorRegistry
) -> None:
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 0
    fail(guard, CHARLIE, 5 * FAILURES_BEFORE_BLOCK)
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 1


def test_an_attack_that_goes_on_after_the_block_is_blocked_again(
    guard: Guard, clock: ManualClock, registry: CollectorRegistry
) -> None:
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(BLOCK_SECONDS)
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK)
    assert blocked(guard, CHARLIE)
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 2


def test_memory_is_bounded_and_the_oldest_callers_are_forgotten_first(guard: Guard) -> None:
    for _ in range(10):
        guard.admit(ALICE)
    assert not passes(guard, ALICE)
    for number in range(KNOWN_CALLERS):
        guard.admit(f"caller {number}")
    assert passes(guard, ALICE)  # forgotten, and so as fresh as any


def test_a_caller_that_goes_on_is_not_forgotten_for_those_that_come_and_go(guard: Guard) -> None:
    for _ in range(10):
        guard.admit(ALICE)
    for number in range(KNOWN_CALLERS):
        guard.admit(f"caller {number}")
        if number % 1_000 == 0:
            assert not passes(guard, ALICE)
    assert not passes(guard, ALICE)


def test_a_block_is_forgotten_only_when_ten_thousand_others_failed_since(guard: Guard) -> None:
    fail(guard, CHARLIE, FAILURES_BEFORE_BLOCK)
    for number in range(KNOWN_CALLERS - 1):
        guard.failed(f"caller {number}", "/things")
    assert blocked(guard, CHARLIE)
    guard.failed("one more", "/things")
    assert not blocked(guard, CHARLIE)
