"""A bot's rate limiter: free and paid tokens, the delays that it causes, and flood control."""

import pytest

from services.outbox.messages import Lane
from services.outbox.rate_limit.bot_rate_limiter import (
    LONGEST_PAUSE_SECONDS,
    NOT_LIMITED,
    BotRateLimiter,
    FloodControl,
    Granted,
    LimitedSince,
)
from tests.outbox.making import NOW

# When Telegram refuses several chats at once it means the bot


def test_one_refused_chat_does_not_stop_the_bot() -> None:
    floods = FloodControl()
    assert floods.refused(1, until=NOW + 10, now=NOW) is None
    assert floods.refused(1, until=NOW + 20, now=NOW + 5) is None


def test_a_second_chat_refused_within_the_first_ones_wait_stops_the_bot() -> None:
    floods = FloodControl()
    floods.refused(1, until=NOW + 10, now=NOW)
    assert floods.refused(2, until=NOW + 8, now=NOW + 3) == NOW + 8


def test_a_second_chat_refused_after_the_first_ones_wait_is_a_chat_of_its_own() -> None:
    floods = FloodControl()
    floods.refused(1, until=NOW + 10, now=NOW)
    assert floods.refused(2, until=NOW + 30, now=NOW + 10) is None


def test_chats_that_are_all_refused_for_long_do_not_stop_the_bot_for_long() -> None:
    floods = FloodControl()
    floods.refused(1, until=NOW + 3_600, now=NOW)
    assert floods.refused(2, until=NOW + 3_000, now=NOW) == NOW + LONGEST_PAUSE_SECONDS


def test_chats_that_are_refused_for_hours_are_chats_of_their_own() -> None:
    floods = FloodControl()
    assert [floods.refused(chat, until=NOW + 86_400, now=NOW) for chat in range(5)] == [None] * 5
    assert floods.refused(5, until=NOW + 10, now=NOW) is None


def test_the_bot_waits_for_the_shortest_of_the_refused_chats() -> None:
    """A chat of its own with a long wait must not hold up everybody."""
    floods = FloodControl()
    floods.refused(1, until=NOW + 10_000, now=NOW)
    assert floods.refused(2, until=NOW + 4, now=NOW) == NOW + 4


# What is paid for


class _Grants:
    """A rate that grants what a test says, and notes what comes back."""

    def __init__(self, *grants: int) -> None:
        self._grants = list(grants)
        self.asked: list[int] = []
        self.back = 0
        self.paused = 0.0

    async def reserve(self, count: int) -> int:
        self.asked.append(count)
        return min(count, self._grants.pop(0))

    async def give_back(self, unused: int) -> None:
        self.back += unused

    async def pause(self, seconds: float) -> None:
        self.paused += seconds

    def wait_seconds(self) -> float:
        return 0.25


async def test_without_a_paid_rate_there_is_only_the_free_one() -> None:
    free = _Grants(3)
    limiter = BotRateLimiter(free)
    granted = await limiter.reserve(10)
    assert (granted, granted.all) == (Granted(3, 0), 3)
    await limiter.give_back(granted, 1, 1)
    assert free.back == 2


async def test_the_paid_rate_is_asked_for_what_the_free_one_does_not_give() -> None:
    free, paid = _Grants(3, 10), _Grants(4)
    limiter = BotRateLimiter(free, paid)
    assert await limiter.reserve(10) == Granted(3, 4)
    assert (free.asked, paid.asked) == ([10], [7])
    assert await limiter.reserve(10) == Granted(10, 0)


@pytest.mark.parametrize(
    ("used", "bulk", "free_back", "paid_back"),
    [(0, 0, 3, 4), (7, 7, 0, 0), (4, 4, 3, 0), (2, 2, 3, 2), (3, 0, 0, 4), (5, 3, 1, 1), (6, 4, 1, 0)],
)
async def test_bulk_uses_what_is_paid_for_first_so_that_others_have_the_free_rate(
    used: int, bulk: int, free_back: int, paid_back: int
) -> None:
    free, paid = _Grants(3), _Grants(4)
    limiter = BotRateLimiter(free, paid)
    await limiter.give_back(await limiter.reserve(7), used, bulk)
    assert (free.back, paid.back) == (free_back, paid_back)


async def test_a_pause_of_the_bot_is_one_of_both_rates() -> None:
    free, paid = _Grants(), _Grants()
    limiter = BotRateLimiter(free, paid)
    await limiter.pause(5.0)
    assert (free.paused, paid.paused, limiter.wait_seconds()) == (5.0, 5.0, 0.25)


def test_without_room_everything_is_held_up_since_the_first_refusal() -> None:
    since = NOT_LIMITED.after_reserve(Granted(0), 10.0).after_reserve(Granted(0), 11.0)
    assert since == LimitedSince(bulk=10.0, others=10.0)
    assert [since.of(lane) for lane in Lane] == [10.0] * 3


def test_room_that_is_paid_for_is_none_for_the_other_lanes() -> None:
    since = NOT_LIMITED.after_reserve(Granted(0, paid=5), 10.0)
    assert since == LimitedSince(bulk=None, others=10.0)
    assert since.after_reserve(Granted(0), 12.0) == LimitedSince(bulk=12.0, others=10.0)


@pytest.mark.parametrize(
    ("used", "bulk", "left"),
    [
        (7, 4, LimitedSince(1.0, 2.0)),  # all of it: more may wait
        (5, 2, LimitedSince(None, 2.0)),  # no more bulk; the others had three of three
        (7, 5, LimitedSince(1.0, None)),  # no more others
        (0, 0, NOT_LIMITED),
    ],
)
def test_who_leaves_room_over_is_held_up_no_more(used: int, bulk: int, left: LimitedSince) -> None:
    assert LimitedSince(1.0, 2.0).after_claim(Granted(3, paid=4), used, bulk) == left
