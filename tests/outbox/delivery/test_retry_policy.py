"""Every row of Telegram's error table, and the message's next state."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.outbox.delivery import retry_policy
from services.outbox.delivery.retry_policy import Policy, TopicGone
from services.outbox.messages import (
    CONTINUATION,
    Claimed,
    Decision,
    MessageState,
    Origin,
    Outcome,
    Reason,
    Result,
    UnknownPolicy,
)
from tests.outbox.making import NOW, claimed, result, sent

POLICY = Policy(base=1.0, cap=60.0, give_up_after=3600.0, max_resends=3)
NO_JITTER = 0.5  # in the middle of ±20 %


def decide(
    message: Claimed | None = None, *, of: Result, parts: int = 1, jitter: float = NO_JITTER
) -> Decision:
    return retry_policy.decide(POLICY, message or claimed(), of, parts, jitter)


def refused(reason: Reason, **more: Any) -> Result:
    return result(Outcome.NOT_SENT, reason, **more)


def unknown(reason: Reason = Reason.NO_ANSWER) -> Result:
    return result(Outcome.UNKNOWN, reason)


def test_an_answer_with_a_message_id_is_the_end() -> None:
    assert decide(of=sent()) == Decision(MessageState.DELIVERED, part=1)


def test_the_next_part_goes_before_anything_else() -> None:
    decision = decide(claimed(part=1, retries=4), of=sent(), parts=3)
    assert (decision.state, decision.due_at, decision.part, decision.retries) == (
        MessageState.QUEUED,
        CONTINUATION,
        2,
        0,
    )


def test_the_last_part_is_the_end() -> None:
    assert decide(claimed(part=2), of=sent(), parts=3) == Decision(MessageState.DELIVERED, part=3)


def test_flood_control_delays_the_message_by_what_telegram_asked() -> None:
    decision = decide(claimed(retries=2), of=refused(Reason.FLOOD_CONTROL, retry_after=17.0), jitter=0.25)
    assert decision.state is MessageState.RETRY_WAIT
    assert decision.due_at == decision.pause_chat_until == NOW + 17.25
    assert decision.retries == 2


def test_flood_control_without_a_time_backs_off_by_itself() -> None:
    decision = decide(claimed(retries=3), of=refused(Reason.FLOOD_CONTROL))
    assert decision.due_at == decision.pause_chat_until == NOW + 8.0
    assert decision.retries == 4


@pytest.mark.parametrize("seconds", [0.0, 0.001, -5.0])
@pytest.mark.parametrize("jitter", [0.0, 0.99])
def test_flood_control_waits_for_the_base_at_least(seconds: float, jitter: float) -> None:
    for given_time in (seconds, None):
        decision = decide(of=refused(Reason.FLOOD_CONTROL, retry_after=given_time), jitter=jitter)
        assert decision.due_at == decision.pause_chat_until >= NOW + POLICY.base


def test_flood_control_never_ends_a_message() -> None:
    old = claimed(accepted_at=NOW - 1_000_000, retries=40)
    assert (
        decide(old, of=refused(Reason.FLOOD_CONTROL, retry_after=10_072.0)).state is MessageState.RETRY_WAIT
    )


def test_a_migrated_group_is_tried_at_its_new_id_at_once() -> None:
    decision = decide(of=refused(Reason.CHAT_MIGRATED, migrate_to=-1009))
    assert (decision.state, decision.due_at, decision.retries) == (MessageState.QUEUED, 0.0, 1)
    assert decision.migrate_to == -1009


def test_a_group_that_migrates_again_and_again_is_given_up_in_the_end() -> None:
    migrated = refused(Reason.CHAT_MIGRATED, migrate_to=-1009)
    again = decide(claimed(retries=1), of=migrated)
    assert (again.state, again.due_at, again.retries, again.migrate_to) == (
        MessageState.RETRY_WAIT,
        NOW + 2.0,
        2,
        -1009,
    )
    assert decide(claimed(retries=9, accepted_at=NOW - 4_000), of=migrated).state is MessageState.DEAD_LETTER


def test_a_migrated_group_gets_the_rest_of_a_message_before_anything_else() -> None:
    decision = decide(claimed(part=1), of=refused(Reason.CHAT_MIGRATED, migrate_to=-1009), parts=2)
    assert (decision.due_at, decision.part) == (CONTINUATION, 1)


@pytest.mark.parametrize("reason", [Reason.BOT_BLOCKED, Reason.CHAT_GONE])
def test_a_destination_that_refuses_the_bot_is_blocked(reason: Reason) -> None:
    assert decide(of=refused(reason)) == Decision(MessageState.DEAD_LETTER, block_chat=reason)


@pytest.mark.parametrize(
    "reason",
    [
        Reason.CHAT_NOT_FOUND,
        Reason.NO_RIGHTS,
        Reason.THREAD_NOT_FOUND,
        Reason.TOO_LONG,
        Reason.BAD_REQUEST,
        Reason.TOO_LARGE,
        Reason.MISDIRECTED,
        Reason.RENDER_FAILED,
    ],
)
def test_what_telegram_will_never_take_is_given_up_at_once(reason: Reason) -> None:
    decision = decide(claimed(part=1), of=refused(reason), parts=2)
    assert decision == Decision(MessageState.DEAD_LETTER, part=1)


def test_bad_markup_is_tried_once_more_as_plain_text_and_at_once() -> None:
    decision = decide(claimed(part=1, retries=1), of=refused(Reason.BAD_MARKUP), parts=2)
    assert (decision.state, decision.due_at, decision.plain) == (MessageState.QUEUED, CONTINUATION, True)
    assert (decision.part, decision.retries) == (1, 1)


def test_an_unknown_refusal_of_formatted_text_is_tried_once_more_as_plain_text() -> None:
    decision = decide(claimed(part=1, retries=1), of=refused(Reason.BAD_REQUEST, formatted=True), parts=2)
    assert (decision.state, decision.due_at, decision.plain) == (MessageState.QUEUED, CONTINUATION, True)
    assert (decision.part, decision.retries) == (1, 1)
    again = decide(claimed(plain=True), of=refused(Reason.BAD_REQUEST))
    assert again == Decision(MessageState.DEAD_LETTER, plain=True)


@pytest.mark.parametrize(
    "reason", [Reason.CHAT_NOT_FOUND, Reason.NO_RIGHTS, Reason.TOO_LONG, Reason.TOO_LARGE]
)
def test_a_refusal_that_is_not_about_the_formatting_gets_no_plain_try(reason: Reason) -> None:
    assert decide(of=refused(reason, formatted=True)) == Decision(MessageState.DEAD_LETTER)


def test_an_edit_is_tried_as_plain_text_before_it_becomes_a_formatted_message() -> None:
    plain = decide(claimed(edits=7), of=refused(Reason.BAD_REQUEST, formatted=True))
    assert (plain.state, plain.plain, plain.as_new) == (MessageState.QUEUED, True, False)
    as_new = decide(claimed(edits=7, plain=True), of=refused(Reason.BAD_REQUEST))
    assert (as_new.state, as_new.plain, as_new.as_new) == (MessageState.QUEUED, False, True)


def test_plain_text_that_is_bad_markup_is_given_up() -> None:
    assert decide(claimed(plain=True), of=refused(Reason.BAD_MARKUP)).state is MessageState.DEAD_LETTER


@pytest.mark.parametrize("reason", [Reason.CANNOT_EDIT, Reason.BAD_REQUEST])
def test_an_edit_that_cannot_be_made_is_sent_instead_and_then_ends_as_any(reason: Reason) -> None:
    decision = decide(claimed(edits=501, retries=2), of=refused(reason))
    assert (decision.state, decision.as_new, decision.retries) == (MessageState.QUEUED, True, 2)
    assert decide(claimed(), of=refused(reason)) == Decision(MessageState.DEAD_LETTER)


def test_a_message_whose_topic_is_gone_goes_to_general_once_where_that_is_set() -> None:
    gone = refused(Reason.THREAD_NOT_FOUND)
    policy = Policy(topic_gone=TopicGone.GENERAL)
    decision = retry_policy.decide(policy, claimed(thread_id=7), gone, 1, NO_JITTER)
    assert decision == Decision(MessageState.QUEUED, CONTINUATION)
    for message in (claimed(thread_id=7, to_general=True), claimed(thread_id=1), claimed(thread_id=None)):
        assert retry_policy.decide(policy, message, gone, 1, NO_JITTER).state is MessageState.DEAD_LETTER
    assert decide(claimed(thread_id=7), of=gone).state is MessageState.DEAD_LETTER


@pytest.mark.parametrize("reason", [Reason.CANNOT_DELETE, Reason.CANNOT_EDIT, Reason.BAD_REQUEST])
def test_a_deletion_that_is_refused_is_never_a_new_message(reason: Reason) -> None:
    decision = decide(claimed(edits=501, origin=Origin.DELETION), of=refused(reason))
    assert decision == Decision(MessageState.DEAD_LETTER)


def test_a_deletion_without_an_answer_is_made_again_and_is_no_duplicate() -> None:
    hold = claimed(edits=501, origin=Origin.DELETION, part=1, on_unknown=UnknownPolicy.HOLD)
    decision = decide(hold, of=unknown(), parts=2)
    assert (decision.state, decision.possible_duplicate) == (MessageState.RETRY_WAIT, False)


@pytest.mark.parametrize("reason", [Reason.INVALID_TOKEN, Reason.BOT_FROZEN])
def test_a_refused_bot_stops_and_the_message_waits_without_a_mark(reason: Reason) -> None:
    decision = decide(claimed(retries=2), of=refused(reason))
    assert (decision.state, decision.due_at, decision.retries) == (MessageState.QUEUED, 0.0, 2)
    assert decision.stop_bot is reason


@pytest.mark.parametrize("reason", [Reason.CONNECT_FAILED, Reason.CONFLICT, Reason.BAD_ANSWER])
def test_what_certainly_did_not_arrive_is_tried_again(reason: Reason) -> None:
    decision = decide(claimed(retries=2), of=refused(reason))
    assert decision == Decision(MessageState.RETRY_WAIT, NOW + 4.0, retries=3)


def test_what_certainly_did_not_arrive_is_given_up_after_its_time() -> None:
    old = claimed(accepted_at=NOW - 3599.5)
    assert decide(old, of=refused(Reason.CONNECT_FAILED)).state is MessageState.DEAD_LETTER
    young = claimed(accepted_at=NOW - 3598.5)
    assert decide(young, of=refused(Reason.CONNECT_FAILED)).state is MessageState.RETRY_WAIT


@pytest.mark.parametrize(
    "reason", [Reason.NO_ANSWER, Reason.SERVER_ERROR, Reason.BAD_ANSWER, Reason.WORKER_LOST]
)
def test_what_may_have_arrived_is_sent_again_and_marked(reason: Reason) -> None:
    decision = decide(claimed(retries=1), of=unknown(reason))
    assert decision == Decision(MessageState.RETRY_WAIT, NOW + 2.0, 2, possible_duplicate=True, resends=1)


def test_what_makes_no_difference_twice_is_tried_as_long_as_what_did_not_arrive() -> None:
    decision = decide(claimed(resends=3), of=replace(unknown(), repeatable=True))
    assert decision.state is MessageState.RETRY_WAIT
    assert not decision.possible_duplicate


def test_what_may_have_arrived_is_held_where_the_event_asks_for_it() -> None:
    held = claimed(on_unknown=UnknownPolicy.HOLD, part=1)
    assert decide(held, of=unknown(), parts=2) == Decision(MessageState.UNKNOWN, part=1)


def test_what_may_have_arrived_is_sent_again_a_few_times_at_most() -> None:
    assert decide(claimed(resends=2), of=unknown()).state is MessageState.RETRY_WAIT
    last = decide(claimed(resends=3, part=1), of=unknown(), parts=2)
    assert last == Decision(MessageState.DEAD_LETTER, part=1, possible_duplicate=True, resends=3)


def test_an_outage_of_telegram_uses_up_no_resends() -> None:
    """Only attempts that may have arrived count, not earlier ones that certainly did not."""
    assert decide(claimed(retries=30), of=unknown()).state is MessageState.RETRY_WAIT


def test_a_delivered_part_starts_the_next_one_afresh() -> None:
    decision = decide(claimed(retries=5, resends=3), of=sent(), parts=2)
    assert (decision.retries, decision.resends) == (0, 0)


@pytest.mark.parametrize(
    ("retries", "jitter", "seconds"),
    [
        (0, 0.5, 1.0),
        (1, 0.5, 2.0),
        (5, 0.5, 32.0),
        (6, 0.5, 60.0),
        (900, 0.5, 60.0),
        (0, 0.0, 0.8),
        (3, 0.0, 6.4),
    ],
)
def test_backoff_doubles_up_to_its_cap(retries: int, jitter: float, seconds: float) -> None:
    assert POLICY.backoff(retries, jitter) == pytest.approx(seconds)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_is_spread_by_a_fifth_at_most(retries: int, jitter: float) -> None:
    middle = POLICY.backoff(retries, 0.5)
    assert 0.8 * middle <= POLICY.backoff(retries, jitter) <= 1.2 * middle


@pytest.mark.parametrize("began", ["accepted_at", "waits_from", "replayed_at"])
def test_retries_end_some_time_after_the_message_began_to_wait(began: str) -> None:
    begun = {"accepted_at": NOW - 2 * POLICY.give_up_after}
    in_time, too_late = (
        claimed(**{**begun, began: NOW - POLICY.give_up_after + left}) for left in (10.0, -10.0)
    )
    assert decide(in_time, of=refused(Reason.SERVER_ERROR)).state is MessageState.RETRY_WAIT
    assert decide(too_late, of=refused(Reason.SERVER_ERROR)).state is MessageState.DEAD_LETTER


_CLAIMED = st.builds(
    claimed,
    retries=st.integers(0, 50),
    resends=st.integers(0, 5),
    part=st.integers(0, 3),
    possible_duplicate=st.booleans(),
    plain=st.booleans(),
    on_unknown=st.sampled_from(UnknownPolicy),
    accepted_at=st.floats(NOW - 10_000, NOW),
)
_FAILURES = st.builds(
    result,
    st.sampled_from([Outcome.NOT_SENT, Outcome.UNKNOWN]),
    st.sampled_from(Reason),
    retry_after=st.none() | st.floats(0, 20_000),
)


@given(_CLAIMED, _FAILURES, st.floats(0, 1, exclude_max=True))
def test_a_failure_takes_back_no_part_no_mark_and_never_says_delivered(
    message: Claimed, failure: Result, jitter: float
) -> None:
    decision = decide(message, of=failure, parts=4, jitter=jitter)
    assert decision.state is not MessageState.DELIVERED
    assert decision.part == message.part
    if decision.state in (MessageState.QUEUED, MessageState.RETRY_WAIT):
        assert decision.possible_duplicate >= message.possible_duplicate
        assert decision.plain >= message.plain
    assert decision.state is not MessageState.RETRY_WAIT or decision.due_at >= NOW
