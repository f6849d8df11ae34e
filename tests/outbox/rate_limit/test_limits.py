"""A chat's tokens: at one message a second, the next token is there after exactly one second."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.rate_limit.limits import ChatTokens, Limits, after_send, is_group
from tests.outbox.making import NOW

FRESH = ChatTokens(tokens=0.0, group_tokens=0.0, sent_at=0.0, open_at=0.0)


def send(tokens: ChatTokens, now: float, limits: Limits, *, group: bool = False) -> ChatTokens:
    return after_send(tokens, now, limits, group=group)


def test_at_one_a_second_a_token_is_there_after_exactly_one_second() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=1.0)
    chat = send(FRESH, NOW, limits)
    assert chat.open_at == NOW + 1.0
    assert send(chat, NOW + 1.0, limits).open_at == NOW + 2.0


def test_a_chat_that_was_quiet_takes_a_burst_and_then_its_rate() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=3.0)
    chat, times = FRESH, []
    now = NOW
    for _ in range(5):
        chat = send(chat, now, limits)
        times.append(now - NOW)
        now = chat.open_at
    assert times == [0.0, 0.0, 0.0, 1.0, 2.0]


def test_a_burst_is_had_again_after_a_silence_as_long_as_it() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=3.0)
    chat = FRESH
    for _ in range(3):
        chat = send(chat, NOW, limits)
    chat = send(chat, NOW + 3.0, limits)
    assert chat.open_at == NOW + 3.0


def test_a_group_takes_twenty_a_minute() -> None:
    limits = Limits(chat_per_second=100.0, chat_burst=100.0, group_per_minute=20.0)
    chat, now = FRESH, NOW
    for _ in range(20):
        chat = send(chat, now, limits, group=True)
    assert chat.open_at == pytest.approx(NOW + 3.0)
    assert send(FRESH, NOW, limits, group=False).group_tokens == 0.0


def test_the_slower_of_both_rates_counts_in_a_group() -> None:
    slow_chat = Limits(chat_per_second=0.1, chat_burst=1.0, group_per_minute=20.0)
    assert send(FRESH, NOW, slow_chat, group=True).open_at == NOW + 10.0


def test_a_rate_of_nothing_is_no_limit() -> None:
    free = Limits(0.0, 0.0, 1.0, 0.0)
    chat = FRESH
    for _ in range(1_000):
        chat = send(chat, NOW, free, group=True)
    assert chat.open_at == NOW


def test_a_clock_that_goes_back_gives_nothing_and_takes_nothing() -> None:
    limits = Limits(chat_per_second=1.0, chat_burst=2.0)
    first = send(FRESH, NOW, limits)
    back = send(first, NOW - 3600.0, limits)
    assert back.tokens == first.tokens - 1.0
    assert back.open_at == NOW - 3600.0 + 1.0


@pytest.mark.parametrize(("chat_id", "group"), [(1001, False), (-2001, True), (-1_000_000_000_001, True)])
def test_groups_have_numbers_below_zero(chat_id: int, group: bool) -> None:
    assert is_group(chat_id) is group


@given(
    st.floats(0.01, 100),
    st.floats(1, 50),
    st.lists(st.floats(0, 20), min_size=1, max_size=60),
)
def test_no_more_leave_than_the_burst_and_the_rate_allow(
    rate: float, burst: float, waits: list[float]
) -> None:
    limits = Limits(chat_per_second=rate, chat_burst=burst)
    chat, now = FRESH, NOW
    for sent, wait in enumerate(waits, start=1):
        now = max(now, chat.open_at) + wait
        chat = send(chat, now, limits)
        assert sent <= burst + rate * (now - NOW) + 1e-3
        assert chat.open_at - now <= 1 / rate + 1e-3
