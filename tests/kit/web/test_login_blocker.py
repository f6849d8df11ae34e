"""The block of an address after repeated failed logins."""

import pytest
from prometheus_client import CollectorRegistry

from services.kit.errors import Problem
from services.kit.web.login_blocker import (
    BLOCK_SECONDS,
    FAILURE_WINDOW_SECONDS,
    FAILURES_BEFORE_BLOCK,
    FAILURES_OF_ALL_ACCOUNTS,
    KNOWN_ADDRESSES,
    LoginBlocker,
    network_of,
)
from services.kit.web.rate_limit import SecurityMetrics
from tests.servers import ManualClock

ALICE, CHARLIE = "192.0.2.1", "192.0.2.66"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_000.0)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def blocker(registry: CollectorRegistry, clock: ManualClock) -> LoginBlocker:
    return LoginBlocker(SecurityMetrics(registry), clock)


def blocked(blocker: LoginBlocker, address: str) -> bool:
    try:
        blocker.check(address)
    except Problem:
        return True
    return False


def fail(blocker: LoginBlocker, address: str, times: int) -> None:
    for _ in range(times):
        blocker.record_failure(address, "/things")


def test_the_tenth_failed_login_blocks_the_address(blocker: LoginBlocker) -> None:
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK - 1)
    assert not blocked(blocker, CHARLIE)
    fail(blocker, CHARLIE, 1)
    assert blocked(blocker, CHARLIE)
    assert not blocked(blocker, ALICE)


def test_addresses_of_one_ipv6_network_are_counted_together(blocker: LoginBlocker) -> None:
    for number in range(FAILURES_BEFORE_BLOCK):
        blocker.record_failure(f"2001:db8:1:2:{number:x}::1", "/things")
    assert blocked(blocker, "2001:db8:1:2::77")
    assert not blocked(blocker, "2001:db8:1:3::77")


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("x" * 1_000, "x" * 64),
    ],
)
def test_an_address_is_counted_by_its_network(address: str, network: str) -> None:
    assert network_of(address) == network


def fail_login(blocker: LoginBlocker, address: str, account: str, times: int) -> None:
    for _ in range(times):
        blocker.record_failure(address, "/login", account)


def test_a_password_is_counted_by_account_and_address(blocker: LoginBlocker) -> None:
    fail_login(blocker, CHARLIE, "admin", FAILURES_BEFORE_BLOCK)
    with pytest.raises(Problem):
        blocker.check(CHARLIE, "admin")
    blocker.check(CHARLIE, "other")
    blocker.check(ALICE, "admin")
    assert not blocked(blocker, CHARLIE)  # with a key
    assert blocker.failures(CHARLIE, "admin") == FAILURES_BEFORE_BLOCK
    assert blocker.failures(ALICE, "admin") == 0


def test_an_address_that_tries_many_accounts_is_blocked_for_all(blocker: LoginBlocker) -> None:
    for number in range(FAILURES_OF_ALL_ACCOUNTS):
        fail_login(blocker, CHARLIE, f"name {number}", 1)
    with pytest.raises(Problem):
        blocker.check(CHARLIE, "admin")
    blocker.check(ALICE, "admin")


def test_failures_are_counted_for_five_minutes(blocker: LoginBlocker, clock: ManualClock) -> None:
    fail_login(blocker, CHARLIE, "admin", 3)
    clock.advance(FAILURE_WINDOW_SECONDS + 1)
    assert blocker.failures(CHARLIE, "admin") == 0


def test_a_block_says_how_long_it_lasts(blocker: LoginBlocker, clock: ManualClock) -> None:
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(100)
    with pytest.raises(Problem) as refused:
        blocker.check(CHARLIE)
    assert refused.value.status == 429
    assert refused.value.headers == {"Retry-After": str(int(BLOCK_SECONDS) - 100 + 1)}


def test_a_block_ends(blocker: LoginBlocker, clock: ManualClock) -> None:
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(BLOCK_SECONDS)
    assert not blocked(blocker, CHARLIE)


def test_failures_over_a_longer_time_are_people_who_mistype(
    blocker: LoginBlocker, clock: ManualClock
) -> None:
    for _ in range(4):
        fail(blocker, ALICE, FAILURES_BEFORE_BLOCK - 1)
        clock.advance(FAILURE_WINDOW_SECONDS + 1)
    assert not blocked(blocker, ALICE)


def test_a_block_is_counted_once_however_long_the_attack_goes_on(
    blocker: LoginBlocker, registry: CollectorRegistry
) -> None:
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 0
    fail(blocker, CHARLIE, 5 * FAILURES_BEFORE_BLOCK)
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 1


def test_an_attack_that_goes_on_after_the_block_is_blocked_again(
    blocker: LoginBlocker, clock: ManualClock, registry: CollectorRegistry
) -> None:
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK)
    clock.advance(BLOCK_SECONDS)
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK)
    assert blocked(blocker, CHARLIE)
    assert registry.get_sample_value("suspicious_ip_blocks_total") == 2


def test_a_block_is_forgotten_only_when_ten_thousand_others_failed_since(blocker: LoginBlocker) -> None:
    fail(blocker, CHARLIE, FAILURES_BEFORE_BLOCK)
    for number in range(KNOWN_ADDRESSES - 1):
        blocker.record_failure(f"caller {number}", "/things")
    assert blocked(blocker, CHARLIE)
    blocker.record_failure("one more", "/things")
    assert not blocked(blocker, CHARLIE)
