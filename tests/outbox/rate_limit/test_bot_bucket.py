"""A bot's bucket in this process: its rate, its pauses, and what it leaves for others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.rate_limit.bot_bucket import LocalBucket
from tests.servers import ManualClock


@pytest.mark.parametrize("rate", [0.1, 0.3, 1 / 3, 1.0, 2.5, 30.0])
def test_polling_in_small_steps_loses_no_fraction_of_a_token(rate: float) -> None:
    """The seed's limiter rounded each poll down to no token at all, and never sent again."""
    clock = ManualClock(0.0)
    bucket = LocalBucket(rate, clock)
    taken = 0
    steps = 2_000
    for _ in range(steps):
        clock.advance(0.1)
        taken += _reserve(bucket, 1)
    possible = min(steps, rate * 200)
    assert 0.9 * possible <= taken <= possible + max(1.0, rate)


def _reserve(bucket: LocalBucket, wanted: int) -> int:
    """The coroutine never waits: it has its answer at the first step."""
    running = bucket.reserve(wanted)
    try:
        running.send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError("it waited")


def test_the_bot_sends_its_rate_at_once_and_then_waits_for_single_tokens() -> None:
    clock = ManualClock()
    bucket = LocalBucket(30.0, clock)
    assert _reserve(bucket, 100) == 30
    assert _reserve(bucket, 1) == 0
    assert bucket.wait_seconds() == pytest.approx(1 / 30)
    clock.advance(bucket.wait_seconds() + 1e-9)
    assert _reserve(bucket, 5) == 1


def test_at_exactly_one_a_second_the_bot_goes_on_after_one_second() -> None:
    clock = ManualClock()
    bucket = LocalBucket(1.0, clock)
    assert [_reserve(bucket, 1), _reserve(bucket, 1)] == [1, 0]
    clock.advance(1.0)
    assert [_reserve(bucket, 1), _reserve(bucket, 1)] == [1, 0]


def test_a_bot_without_a_limit_never_waits() -> None:
    bucket = LocalBucket(0.0, ManualClock())
    assert [_reserve(bucket, 1000), _reserve(bucket, 1000)] == [1000, 1000]
    assert bucket.wait_seconds() == 0.0


def _give_back(bucket: LocalBucket, unused: int) -> None:
    running = bucket.give_back(unused)
    with pytest.raises(StopIteration):
        running.send(None)


def test_what_was_reserved_for_nothing_is_given_back_but_never_saved_up() -> None:
    clock = ManualClock()
    bucket = LocalBucket(10.0, clock)
    assert _reserve(bucket, 10) == 10
    _give_back(bucket, 8)
    assert _reserve(bucket, 10) == 8
    _give_back(bucket, 10_000)
    assert _reserve(bucket, 100) == 10


@pytest.mark.parametrize("per_second", [0.0, 30.0])
async def test_a_paused_bot_lets_nothing_pass_until_its_time(per_second: float) -> None:
    clock = ManualClock()
    bucket = LocalBucket(per_second, clock)
    await bucket.pause(5.0)
    await bucket.pause(2.0)
    assert await bucket.reserve(1) == 0
    assert bucket.wait_seconds() == 5.0
    clock.advance(5.0)
    assert await bucket.reserve(1) == 1


@given(st.floats(0.5, 200), st.lists(st.tuples(st.floats(0, 3), st.integers(0, 100)), max_size=50))
def test_the_bots_rate_holds_whatever_the_questions(rate: float, asked: list[tuple[float, int]]) -> None:
    clock = ManualClock(0.0)
    bucket = LocalBucket(rate, clock)
    granted = 0
    for wait, wanted in asked:
        clock.advance(wait)
        granted += _reserve(bucket, wanted)
        assert granted <= max(1.0, rate) + rate * clock.now + 1e-6


def test_one_who_leaves_a_token_to_others_never_takes_the_last_and_they_never_wait() -> None:
    clock = ManualClock()
    alerts = LocalBucket(30.0, clock)
    bulk = alerts.leaving(1.0)
    for _ in range(100):
        _reserve(bulk, 64)
        assert _reserve(alerts, 1) == 1
        clock.advance(0.1)


def test_who_share_a_bot_share_its_tokens_and_its_pauses() -> None:
    clock = ManualClock()
    alerts = LocalBucket(10.0, clock)
    bulk = alerts.leaving(1.0)
    assert [_reserve(bulk, 6), _reserve(alerts, 6), _reserve(bulk, 1)] == [6, 4, 0]
    assert bulk.wait_seconds() == pytest.approx(2 / 10)
    clock.advance(bulk.wait_seconds() + 1e-9)
    assert _reserve(bulk, 64) == 1
    with pytest.raises(StopIteration):
        alerts.pause(5.0).send(None)
    clock.advance(4.0)
    assert [_reserve(bulk, 1), _reserve(alerts, 1)] == [0, 0]


@pytest.mark.parametrize("rate", [0.2, 1.0, 1.5, 30.0])
def test_leaving_a_token_to_others_stops_nobody_at_a_slow_rate(rate: float) -> None:
    clock = ManualClock()
    bulk = LocalBucket(rate, clock).leaving(1.0)
    sent = 0
    for _ in range(20):
        sent += _reserve(bulk, 1)
        clock.advance(bulk.wait_seconds() + 1e-9)
    assert sent >= 10
