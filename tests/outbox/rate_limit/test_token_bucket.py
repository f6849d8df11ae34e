"""Telegram's rates: fractional tokens, so that at one a second a token is there after exactly one second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.messages import Lane
from services.outbox.rate_limit import token_bucket
from services.outbox.rate_limit.token_bucket import (
    NOT_PACED,
    BotPace,
    ChatPace,
    Granted,
    Limits,
    PacedSince,
    Rates,
)
from tests.outbox.making import NOW
from tests.servers import ManualClock

FRESH = ChatPace(tokens=0.0, group_tokens=0.0, sent_at=0.0, open_at=0.0)


def send(pace: ChatPace, now: float, limits: Limits, *, group: bool = False) -> ChatPace:
    return token_bucket.after_send(pace, now, limits, group=group)


def test_at_one_a_second_a_token_is_there_after_exactly_one_second() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=1.0)
    pace = send(FRESH, NOW, limits)
    assert pace.open_at == NOW + 1.0
    assert send(pace, NOW + 1.0, limits).open_at == NOW + 2.0


@pytest.mark.parametrize("rate", [0.1, 0.3, 1 / 3, 1.0, 2.5, 30.0])
def test_polling_in_small_steps_loses_no_fraction_of_a_token(rate: float) -> None:
    """The seed's limiter rounded each poll down to no token at all, and never sent again."""
    clock = ManualClock(0.0)
    pace = BotPace(rate, clock)
    taken = 0
    steps = 2_000
    for _ in range(steps):
        clock.advance(0.1)
        taken += _reserve(pace, 1)
    possible = min(steps, rate * 200)
    assert 0.9 * possible <= taken <= possible + max(1.0, rate)


def _reserve(pace: BotPace, wanted: int) -> int:
    """The coroutine never waits: it has its answer at the first step."""
    running = pace.reserve(wanted)
    try:
        running.send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError("it waited")


def test_a_chat_that_was_quiet_takes_a_burst_and_then_its_rate() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=3.0)
    pace, times = FRESH, []
    now = NOW
    for _ in range(5):
        pace = send(pace, now, limits)
        times.append(now - NOW)
        now = pace.open_at
    assert times == [0.0, 0.0, 0.0, 1.0, 2.0]


def test_a_burst_is_had_again_after_a_silence_as_long_as_it() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=3.0)
    pace = FRESH
    for _ in range(3):
        pace = send(pace, NOW, limits)
    pace = send(pace, NOW + 3.0, limits)
    assert pace.open_at == NOW + 3.0


def test_a_group_takes_twenty_a_minute() -> None:
    limits = Limits(chat_per_second=100.0, chat_burst=100.0, group_per_minute=20.0)
    pace, now = FRESH, NOW
    for _ in range(20):
        pace = send(pace, now, limits, group=True)
    assert pace.open_at == pytest.approx(NOW + 3.0)
    assert send(FRESH, NOW, limits, group=False).group_tokens == 0.0


def test_the_slower_of_both_rates_counts_in_a_group() -> None:
    slow_chat = Limits(chat_per_second=0.1, chat_burst=1.0, group_per_minute=20.0)
    assert send(FRESH, NOW, slow_chat, group=True).open_at == NOW + 10.0


def test_a_rate_of_nothing_is_no_limit() -> None:
    free = Limits(0.0, 0.0, 1.0, 0.0)
    pace = FRESH
    for _ in range(1_000):
        pace = send(pace, NOW, free, group=True)
    assert pace.open_at == NOW


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=2.0)
    first = send(FRESH, NOW, limits)
    back = send(first, NOW - 3600.0, limits)
    assert back.tokens == first.tokens - 1.0
    assert back.open_at == NOW - 3600.0 + 1.0


@pytest.mark.parametrize(("chat_id", "group"), [(1001, False), (-2001, True), (-1_000_000_000_001, True)])
def test_groups_have_numbers_below_zero(chat_id: int, group: bool) -> None:
    assert token_bucket.is_group(chat_id) is group


@given(
    st.floats(0.01, 100),
    st.floats(1, 50),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_more_leave_than_the_burst_and_the_rate_allow(
    rate: float, burst: float, waits: list[float]
) -> None:
    limits = Limits(chat_per_second=rate, chat_burst=burst)
    pace, now = FRESH, NOW
    for sent, wait in enumerate(waits, start=1):
        now = max(now, pace.open_at) + wait
        pace = send(pace, now, limits)
        assert sent <= burst + rate * (now - NOW) + 1e-3
        assert pace.open_at - now <= 1 / rate + 1e-3


# The bot's own rate


def test_the_bot_sends_its_rate_at_once_and_then_waits_for_single_tokens() -> None:
    clock = ManualClock()
    pace = BotPace(30.0, clock)
    assert _reserve(pace, 100) == 30
    assert _reserve(pace, 1) == 0
    assert pace.wait_seconds() == pytest.approx(1 / 30)
    clock.advance(pace.wait_seconds() + 1e-9)
    assert _reserve(pace, 5) == 1


def test_at_exactly_one_a_second_the_bot_goes_on_after_one_second() -> None:
    clock = ManualClock()
    pace = BotPace(1.0, clock)
    assert [_reserve(pace, 1), _reserve(pace, 1)] == [1, 0]
    clock.advance(1.0)
    assert [_reserve(pace, 1), _reserve(pace, 1)] == [1, 0]


def test_a_bot_without_a_limit_never_waits() -> None:
    pace = BotPace(0.0, ManualClock())
    assert [_reserve(pace, 1000), _reserve(pace, 1000)] == [1000, 1000]
    assert pace.wait_seconds() == 0.0


def _give_back(pace: BotPace, unused: int) -> None:
    running = pace.give_back(unused)
    with pytest.raises(StopIteration):
        running.send(None)


def test_what_was_reserved_for_nothing_is_given_back_but_never_saved_up() -> None:
    clock = ManualClock()
    pace = BotPace(10.0, clock)
    assert _reserve(pace, 10) == 10
    _give_back(pace, 8)
    assert _reserve(pace, 10) == 8
    _give_back(pace, 10_000)
    assert _reserve(pace, 100) == 10


@pytest.mark.parametrize("per_second", [0.0, 30.0])
async def test_a_paused_bot_lets_nothing_pass_until_its_time(per_second: float) -> None:
    clock = ManualClock()
    pace = BotPace(per_second, clock)
    await pace.pause(5.0)
    await pace.pause(2.0)
    assert await pace.reserve(1) == 0
    assert pace.wait_seconds() == 5.0
    clock.advance(5.0)
    assert await pace.reserve(1) == 1


@given(st.floats(0.5, 200), st.lists(st.tuples(st.floats(0, 3), st.integers(0, 100)), max_size=50))
def test_the_bots_rate_holds_whatever_the_questions(rate: float, asked: list[tuple[float, int]]) -> None:
    clock = ManualClock(0.0)
    pace = BotPace(rate, clock)
    granted = 0
    for wait, wanted in asked:
        clock.advance(wait)
        granted += _reserve(pace, wanted)
        assert granted <= max(1.0, rate) + rate * clock.now + 1e-6


def test_one_who_leaves_a_token_to_others_never_takes_the_last_and_they_never_wait() -> None:
    clock = ManualClock()
    alerts = BotPace(30.0, clock)
    bulk = alerts.leaving(1.0)
    for _ in range(100):
        _reserve(bulk, 64)
        assert _reserve(alerts, 1) == 1
        clock.advance(0.1)


def test_who_share_a_bot_share_its_tokens_and_its_pauses() -> None:
    clock = ManualClock()
    alerts = BotPace(10.0, clock)
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
    bulk = BotPace(rate, clock).leaving(1.0)
    sent = 0
    for _ in range(20):
        sent += _reserve(bulk, 1)
        clock.advance(bulk.wait_seconds() + 1e-9)
    assert sent >= 10


# When Telegram refuses several chats at once it means the bot


def test_one_refused_chat_does_not_stop_the_bot() -> None:
    floods = token_bucket.Floods()
    assert floods.told(1, until=NOW + 10, now=NOW) is None
    assert floods.told(1, until=NOW + 20, now=NOW + 5) is None


def test_a_second_chat_refused_within_the_first_ones_wait_stops_the_bot() -> None:
    floods = token_bucket.Floods()
    floods.told(1, until=NOW + 10, now=NOW)
    assert floods.told(2, until=NOW + 8, now=NOW + 3) == NOW + 8


def test_a_second_chat_refused_after_the_first_ones_wait_is_a_chat_of_its_own() -> None:
    floods = token_bucket.Floods()
    floods.told(1, until=NOW + 10, now=NOW)
    assert floods.told(2, until=NOW + 30, now=NOW + 10) is None


def test_the_bot_waits_for_the_shortest_of_the_refused_chats() -> None:
    """A chat of its own with a long wait must not hold up everybody."""
    floods = token_bucket.Floods()
    floods.told(1, until=NOW + 10_000, now=NOW)
    assert floods.told(2, until=NOW + 4, now=NOW) == NOW + 4


# What is paid for


class _Grants:
    """A rate that grants what a test says, and notes what comes back."""

    def __init__(self, *grants: int) -> None:
        self._grants = list(grants)
        self.asked: list[int] = []
        self.back = 0
        self.paused = 0.0

    async def reserve(self, wanted: int) -> int:
        self.asked.append(wanted)
        return min(wanted, self._grants.pop(0))

    async def give_back(self, unused: int) -> None:
        self.back += unused

    async def pause(self, seconds: float) -> None:
        self.paused += seconds

    def wait_seconds(self) -> float:
        return 0.25


async def test_without_a_paid_rate_there_is_only_the_free_one() -> None:
    free = _Grants(3)
    rates = Rates(free)
    granted = await rates.reserve(10)
    assert (granted, granted.all) == (Granted(3, 0), 3)
    await rates.give_back(granted, 1, 1)
    assert free.back == 2


async def test_the_paid_rate_is_asked_for_what_the_free_one_does_not_give() -> None:
    free, paid = _Grants(3, 10), _Grants(4)
    rates = Rates(free, paid)
    assert await rates.reserve(10) == Granted(3, 4)
    assert (free.asked, paid.asked) == ([10], [7])
    assert await rates.reserve(10) == Granted(10, 0)


@pytest.mark.parametrize(
    ("used", "bulk", "free_back", "paid_back"),
    [(0, 0, 3, 4), (7, 7, 0, 0), (4, 4, 3, 0), (2, 2, 3, 2), (3, 0, 0, 4), (5, 3, 1, 1), (6, 4, 1, 0)],
)
async def test_bulk_uses_what_is_paid_for_first_so_that_others_have_the_free_rate(
    used: int, bulk: int, free_back: int, paid_back: int
) -> None:
    free, paid = _Grants(3), _Grants(4)
    rates = Rates(free, paid)
    await rates.give_back(await rates.reserve(7), used, bulk)
    assert (free.back, paid.back) == (free_back, paid_back)


async def test_a_pause_of_the_bot_is_one_of_both_rates() -> None:
    free, paid = _Grants(), _Grants()
    rates = Rates(free, paid)
    await rates.pause(5.0)
    assert (free.paused, paid.paused, rates.wait_seconds()) == (5.0, 5.0, 0.25)


def test_without_room_everything_is_held_up_since_the_first_refusal() -> None:
    since = NOT_PACED.asked(Granted(0), 10.0).asked(Granted(0), 11.0)
    assert since == PacedSince(bulk=10.0, others=10.0)
    assert [since.of(lane) for lane in Lane] == [10.0] * 3


def test_room_that_is_paid_for_is_none_for_the_other_lanes() -> None:
    since = NOT_PACED.asked(Granted(0, paid=5), 10.0)
    assert since == PacedSince(bulk=None, others=10.0)
    assert since.asked(Granted(0), 12.0) == PacedSince(bulk=12.0, others=10.0)


@pytest.mark.parametrize(
    ("used", "bulk", "left"),
    [
        (7, 4, PacedSince(1.0, 2.0)),  # all of it: more may wait
        (5, 2, PacedSince(None, 2.0)),  # no more bulk; the others had three of three
        (7, 5, PacedSince(1.0, None)),  # no more others
        (0, 0, NOT_PACED),
    ],
)
def test_who_leaves_room_over_is_held_up_no_more(used: int, bulk: int, left: PacedSince) -> None:
    assert PacedSince(1.0, 2.0).claimed(Granted(3, paid=4), used, bulk) == left
