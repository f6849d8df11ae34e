"""The message of a chat that goes next, and when the chat can be claimed again. Pure."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.chats import chat_heads
from services.outbox.chats.chat_heads import Head
from services.outbox.messages import AT_ONCE, CONTINUATION, Lane
from tests.outbox.making import NOW

URGENT, NORMAL, BULK = (int(lane) for lane in Lane)
EARLIER, LATER = NOW - 5, NOW + 5


@pytest.mark.parametrize(
    ("heads", "chosen"),
    [
        ([], None),
        ([(NORMAL, AT_ONCE)], 0),
        ([(NORMAL, LATER)], None),
        ([(NORMAL, NOW)], 0),
        ([(BULK, AT_ONCE), (NORMAL, AT_ONCE), (URGENT, AT_ONCE)], 2),
        ([(URGENT, LATER), (BULK, AT_ONCE)], 1),
        ([(URGENT, AT_ONCE), (BULK, CONTINUATION)], 1),
        ([(NORMAL, AT_ONCE), (NORMAL, EARLIER)], 1),
        ([(NORMAL, AT_ONCE), (NORMAL, LATER)], 0),
        ([(URGENT, AT_ONCE), (NORMAL, EARLIER)], 0),
    ],
)
def test_what_goes_now(heads: list[tuple[int, float]], chosen: int | None) -> None:
    made = [Head(lane, seq, due) for seq, (lane, due) in enumerate(heads)]
    found = chat_heads.choose(made, NOW)
    assert (found.seq if found else None) == chosen


@pytest.mark.parametrize(
    ("heads", "open_at", "turn"),
    [
        ([], 0.0, (None, NORMAL)),
        ([], LATER, (None, NORMAL)),
        ([(BULK, AT_ONCE)], 0.0, (NOW, BULK)),
        ([(BULK, CONTINUATION)], 0.0, (NOW, BULK)),
        ([(BULK, AT_ONCE)], LATER, (LATER, BULK)),
        ([(NORMAL, LATER)], 0.0, (LATER, NORMAL)),
        ([(NORMAL, LATER)], NOW + 9, (NOW + 9, NORMAL)),
        ([(BULK, LATER), (URGENT, NOW + 7)], 0.0, (LATER, BULK)),
        ([(BULK, AT_ONCE), (URGENT, LATER)], 0.0, (NOW, BULK)),
    ],
)
def test_when_the_chat_can_be_claimed_again(
    heads: list[tuple[int, float]], open_at: float, turn: tuple[float | None, int]
) -> None:
    made = [Head(lane, seq, due) for seq, (lane, due) in enumerate(heads)]
    assert chat_heads.next_claim(chat_heads.first_of(made, NOW), NOW, open_at) == turn


_DUE = st.sampled_from([CONTINUATION, AT_ONCE]) | st.floats(NOW - 100, NOW + 100)
_HEADS = st.lists(st.builds(Head, st.sampled_from([URGENT, NORMAL, BULK]), st.integers(1, 99), _DUE))


@given(_HEADS, st.floats(NOW - 100, NOW + 100))
def test_a_chat_where_something_waits_always_has_a_turn_and_finds_something_then(
    heads: list[Head], open_at: float
) -> None:
    at, _ = chat_heads.next_claim(chat_heads.first_of(heads, NOW), NOW, open_at)
    assert (at is None) == (not heads)
    if at is not None:
        assert at >= open_at
        assert chat_heads.choose(heads, max(at, NOW)) is not None


def row(**filled: float) -> dict[str, float | None]:
    names = (f"{what}_{lane}_{kind}" for what in ("seq", "due") for lane in range(3) for kind in KINDS)
    return dict.fromkeys(names, None) | filled


KINDS = ("retry", "queued", "scheduled")


def test_a_retry_holds_up_its_lane() -> None:
    both = row(
        seq_1_retry=3, due_1_retry=LATER, seq_1_queued=4, due_1_queued=0.0, seq_2_queued=5, due_2_queued=0.0
    )
    assert chat_heads.heads_of(both) == [Head(NORMAL, 3, LATER), Head(BULK, 5, 0.0)]


def test_a_lane_has_its_first_message_and_its_first_scheduled_one() -> None:
    both = row(seq_0_queued=3, due_0_queued=0.0, seq_0_scheduled=2, due_0_scheduled=EARLIER)
    assert chat_heads.heads_of(both) == [Head(URGENT, 3, 0.0), Head(URGENT, 2, EARLIER)]
