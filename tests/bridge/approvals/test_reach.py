"""How many chats show a question, by the states of its messages."""

import pytest

from services.bridge.approvals.reach import Asking, Reach, reach
from services.outbox.messages import MessageState
from tests.bridge.people import ADA, GRACE


def asking(state: str | None, chat_id: int = ADA, *, duplicate: bool = False, reason: str = "none") -> Asking:
    return Asking(chat_id, MessageState(state) if state else None, duplicate, reason)


@pytest.mark.parametrize("state", ["dead_letter", "suppressed", "expired", "cancelled"])
def test_a_question_whose_every_message_ended_undelivered_reaches_nobody(state: str) -> None:
    assert reach([asking(state), asking("dead_letter", GRACE)]).undelivered


@pytest.mark.parametrize("state", ["queued", "sending", "retry_wait", "unknown", "delivered", None])
def test_a_question_with_one_message_that_arrived_or_may_arrive_does_not(state: str | None) -> None:
    assert not reach([asking("dead_letter"), asking(state, GRACE)]).undelivered


@pytest.mark.parametrize("state", ["queued", "sending", "retry_wait"])
def test_a_message_on_its_way_is_waited_for(state: str) -> None:
    assert reach([asking(state), asking("dead_letter", GRACE)]).waits


def test_each_chat_counts_once() -> None:
    found = reach([asking("delivered"), asking("delivered"), asking("unknown"), asking("unknown", GRACE)])
    assert (found.visible_in, found.perhaps_visible_in) == (1, 1)


def test_a_message_that_was_given_up_after_lost_answers_may_be_in_the_chat() -> None:
    """People may answer it there, so the question is not undelivered."""
    found = reach([asking("dead_letter", duplicate=True, reason="server_error")])
    assert found == Reach(0, 1, undelivered=False, waits=False, why="server_error")


def test_of_archived_messages_nothing_is_claimed() -> None:
    found = reach([asking(None), asking("delivered", GRACE)])
    assert (found.visible_in, found.perhaps_visible_in, found.undelivered) == (None, None, False)


def test_the_reasons_are_named_once_each() -> None:
    found = reach(
        [
            asking("dead_letter", reason="chat_not_found"),
            asking("dead_letter", GRACE, reason="chat_not_found"),
            asking("cancelled", 3),
        ]
    )
    assert found.why == "cancelled, chat_not_found"
