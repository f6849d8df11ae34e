"""Flood control, with the time as an argument."""

import pytest

from services.telegram_sandbox.errors import BotApiError
from services.telegram_sandbox.flood_control import FloodControl, Limits

BOT, ADA, TEAM = 7, 1001, -2001


def flood(**numbers: float) -> FloodControl:
    return FloodControl(Limits(**numbers))  # type: ignore[arg-type] # each test names fields of their own types


def test_a_chat_allows_a_small_burst_and_then_one_message_a_second() -> None:
    control = flood(chat_burst=3)
    assert [control.admit(BOT, ADA, 100.0, group=False).wait for _ in range(5)] == [0, 0, 0, 1, 2]


def test_a_quiet_chat_has_its_burst_again() -> None:
    control = flood(chat_burst=3)
    for _ in range(3):
        control.admit(BOT, ADA, 100.0, group=False)
    assert [control.admit(BOT, ADA, 200.0, group=False).wait for _ in range(4)] == [0, 0, 0, 1]


def test_a_wait_longer_than_the_hold_is_refused_with_the_full_wait() -> None:
    control = flood(chat_burst=1, hold_seconds=2.0)
    waits = [control.admit(BOT, ADA, 100.0, group=False).wait for _ in range(3)]
    assert waits == [0, 1, 2]
    with pytest.raises(BotApiError) as refused:
        control.admit(BOT, ADA, 100.0, group=False)
    assert (refused.value.status, refused.value.retry_after) == (429, 3)
    assert refused.value.description == "Too Many Requests: retry after 3"


def test_a_refused_message_reserves_no_slot() -> None:
    control = flood(chat_burst=1, hold_seconds=0.0)
    control.admit(BOT, ADA, 100.0, group=False)
    for _ in range(50):
        with pytest.raises(BotApiError):
            control.admit(BOT, ADA, 100.5, group=False)
    assert control.admit(BOT, ADA, 101.0, group=False).wait == 0


def test_a_group_allows_twenty_messages_in_any_minute() -> None:
    control = flood(chat_per_second=1000.0, chat_burst=1000, hold_seconds=0.0)
    assert [control.admit(BOT, TEAM, 100.0 + i, group=True).wait for i in range(20)] == [0] * 20
    with pytest.raises(BotApiError) as refused:
        control.admit(BOT, TEAM, 130.0, group=True)
    assert refused.value.retry_after == 30
    assert control.admit(BOT, TEAM, 160.0, group=True).wait == 0


def test_a_bot_sends_thirty_messages_in_any_second_to_all_chats_together() -> None:
    control = flood(hold_seconds=8.0)
    assert [control.admit(BOT, 5000 + i, 100.0, group=False).wait for i in range(30)] == [0] * 30
    assert control.admit(BOT, 6000, 100.25, group=False).wait == pytest.approx(0.75)
    assert control.admit(BOT + 1, 6000, 100.25, group=False).wait == 0


def test_disabled_limits_allow_everything() -> None:
    control = flood(enabled=False)
    assert {control.admit(BOT, ADA, 100.0, group=False).wait for _ in range(500)} == {0.0}
    control.guard(10_000, 10_000)


def test_changed_limits_forget_earlier_messages() -> None:
    control = flood(chat_burst=1, hold_seconds=0.0)
    control.admit(BOT, ADA, 100.0, group=False)
    control.change(Limits(chat_burst=1, hold_seconds=0.0))
    assert control.admit(BOT, ADA, 100.0, group=False).wait == 0


@pytest.mark.parametrize(("unsent", "active"), [(311, 1), (1, 1001)])
def test_the_server_s_guards_answer_429_for_a_minute_after_three_seconds(unsent: int, active: int) -> None:
    with pytest.raises(BotApiError) as refused:
        flood().guard(unsent, active)
    assert (refused.value.status, refused.value.retry_after, refused.value.delay) == (429, 60, 3.0)


def test_a_paying_bot_exceeds_the_free_rate_and_is_charged_only_above_it() -> None:
    control = flood(hold_seconds=0.0)
    slots = [control.admit(BOT, 5000 + i, 100.0, group=False, pays=True) for i in range(1_030)]
    assert {slot.wait for slot in slots} == {0}
    assert [slot.charged for slot in slots] == [False] * 30 + [True] * 1_000
    with pytest.raises(BotApiError) as refused:
        control.admit(BOT, 7000, 100.0, group=False, pays=True)
    assert refused.value.retry_after == 1
    assert not control.admit(BOT, 7000, 101.0, group=False, pays=True).charged


def test_unpaid_messages_keep_the_free_rate_beside_paid_ones() -> None:
    control = flood(hold_seconds=0.0)
    for i in range(200):
        control.admit(BOT, 5000 + i, 100.0, group=False, pays=True)
    with pytest.raises(BotApiError):
        control.admit(BOT, 6000, 100.5, group=False)
    assert control.admit(BOT, 6000, 101.0, group=False).wait == 0


def test_paying_does_not_change_a_chat_s_rate() -> None:
    control = flood(chat_burst=1)
    waits = [control.admit(BOT, ADA, 100.0, group=False, pays=True).wait for _ in range(3)]
    assert waits == [0, 1, 2]
