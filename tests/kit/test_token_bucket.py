import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.token_bucket import TokenBucket, leave_within


@given(rate=st.floats(min_value=0.01, max_value=1000))
def test_a_bucket_names_a_wait_after_which_it_has_a_token(rate: float) -> None:
    bucket = TokenBucket(rate, burst=1.0, tokens=0.0, updated_at=0.0)
    assert bucket.take(0.0) == 0
    wait = bucket.wait_seconds(0.0)
    assert bucket.take(wait * (1 + 1e-9)) == 1


def test_a_bucket_holds_no_more_than_its_burst() -> None:
    bucket = TokenBucket(1.0, burst=3.0, tokens=3.0, updated_at=0.0)
    assert bucket.take(1_000.0, 10) == 3
    bucket.give_back(7)
    assert bucket.take(1_000.0, 10) == 3


def test_fractions_of_a_token_add_up() -> None:
    bucket = TokenBucket(0.5, burst=1.0, tokens=0.0, updated_at=0.0)
    assert [bucket.take(now) for now in (0.5, 1.0, 1.5, 2.0)] == [0, 0, 0, 1]


def test_the_tokens_that_are_left_to_others_are_not_taken_and_count_in_the_wait() -> None:
    bucket = TokenBucket(2.0, burst=4.0, tokens=4.0, updated_at=0.0)
    assert bucket.take(0.0, 10, leave=1.0) == 3
    assert bucket.wait_seconds(0.0, leave=1.0) == pytest.approx(0.5)
    assert bucket.take(0.0, 10) == 1


def test_an_empty_bucket_can_be_spent_from_and_pays_the_debt_first() -> None:
    bucket = TokenBucket(1.0, burst=1.0, tokens=0.0, updated_at=0.0)
    bucket.spend(0.0)
    assert (bucket.tokens, bucket.wait_seconds(0.0)) == (-1.0, 2.0)
    assert [bucket.take(1.9), bucket.take(2.0)] == [0, 1]


def test_a_clock_that_goes_back_neither_adds_nor_removes_tokens() -> None:
    bucket = TokenBucket(1.0, burst=5.0, tokens=1.0, updated_at=100.0)
    assert (bucket.wait_seconds(40.0), bucket.tokens, bucket.updated_at) == (0.0, 1.0, 40.0)
    bucket.spend(41.0)
    assert bucket.tokens == 1.0


def test_a_rate_of_nothing_is_no_limit() -> None:
    bucket = TokenBucket(0.0, burst=1.0, tokens=0.0, updated_at=0.0)
    assert bucket.take(0.0, 1_000, leave=5.0) == 1_000
    bucket.spend(0.0)
    assert bucket.wait_seconds(0.0, leave=5.0) == 0.0


@pytest.mark.parametrize(("burst", "wanted", "left"), [(30.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.5, 1.0, 0.5)])
def test_a_slow_sender_leaves_no_token_that_it_would_never_get_itself(
    burst: float, wanted: float, left: float
) -> None:
    assert leave_within(burst, wanted) == left
