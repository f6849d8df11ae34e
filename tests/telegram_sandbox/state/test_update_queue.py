"""A bot's queue of updates, with the time as an argument."""

from services.telegram_sandbox.state.update_queue import QUEUE_CAP, Update, UpdateQueue

DAY = 86_400.0


def queue(count: int = 0) -> UpdateQueue:
    filled = UpdateQueue(next_id=100)
    for number in range(count):
        filled.push("message", {"n": number}, 0.0, lane=1)
    return filled


def ids(updates: list[Update]) -> list[int]:
    return [update.id for update in updates]


def test_updates_are_ordered_and_stay_until_they_are_confirmed() -> None:
    filled = queue(3)
    assert ids(filled.head(100, 1.0)) == ids(filled.head(100, 1.0)) == [100, 101, 102]


def test_an_offset_confirms_everything_below_it() -> None:
    filled = queue(5)
    assert filled.confirm(103) == 3
    assert ids(filled.head(100, 1.0)) == [103, 104]


def test_a_negative_offset_drops_all_but_the_last_ones() -> None:
    filled = queue(5)
    assert filled.confirm(-2) == 3
    assert ids(filled.head(100, 1.0)) == [103, 104]


def test_an_offset_far_ahead_confirms_nothing() -> None:
    filled = queue(2)
    assert filled.confirm(9_999) == 0
    assert ids(filled.head(100, 1.0)) == [100, 101]


def test_a_tap_expires_after_150_seconds_and_a_message_after_a_day() -> None:
    both = queue()
    both.push("callback_query", {}, 0.0, lane=1)
    both.push("message", {}, 0.0, lane=1)
    assert ids(both.head(100, 149.9)) == [100, 101]
    assert ids(both.head(100, 150.0)) == [101]
    assert ids(both.head(100, DAY - 0.1)) == [101]
    assert ids(both.head(100, DAY)) == []


def test_at_most_limit_updates_are_returned() -> None:
    assert ids(queue(5).head(2, 1.0)) == [100, 101]


def test_opt_in_kinds_are_queued_only_if_allowed() -> None:
    fresh = queue()
    assert fresh.push("chat_member", {}, 0.0, lane=1) is None
    fresh.allow(frozenset({"chat_member"}))
    assert fresh.push("chat_member", {}, 0.0, lane=1) is not None
    assert fresh.push("message", {}, 0.0, lane=1) is None
    fresh.allow(frozenset())
    assert fresh.push("message", {}, 0.0, lane=1) is not None


def test_a_full_queue_accepts_no_updates() -> None:
    full = queue()
    for number in range(QUEUE_CAP):
        full.pending[number] = Update(number, "message", {}, DAY, 1)
    assert full.push("message", {}, 0.0, lane=1) is None


def test_the_id_of_a_restored_update_is_not_reused() -> None:
    fresh = queue()
    fresh.restore(Update(500, "message", {}, DAY, 1))
    pushed = fresh.push("message", {}, 0.0, lane=1)
    assert pushed is not None
    assert pushed.id == 501
