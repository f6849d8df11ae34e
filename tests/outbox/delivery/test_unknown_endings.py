"""A message that may have arrived never ends in a state that says it was not sent; on both databases."""

from functools import partial

import pytest

from services.outbox.chats import chat_state
from services.outbox.messages import MessageState, Outcome, Reason, Result, Settled
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, NOW, event, message, result, sent, submission

LOST = result(Outcome.UNKNOWN, Reason.NO_ANSWER)
NOT_SENT = result(Outcome.NOT_SENT, Reason.SERVER_ERROR)


async def ended(desk: Desk) -> Settled:
    """The one message that the next claim ends."""
    (one,) = (await desk.batch()).ended
    return one


@pytest.mark.parametrize(
    ("outcome", "state"), [(LOST, MessageState.UNKNOWN), (NOT_SENT, MessageState.EXPIRED)]
)
async def test_a_message_that_expires_while_it_waits_for_its_retry(
    desk: Desk, outcome: Result, state: MessageState
) -> None:
    await desk.submit(submission(message(expires_at=NOW + 60)))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, outcome)
    desk.clock.advance(61)
    one = await ended(desk)
    assert (one.decision.state, one.result.reason) == (state, Reason.EXPIRED)
    life = await desk.life(claimed.id)
    assert (life.message["state"], life.message["reason"]) == (state, "expired")
    assert [(change["state"], change["cause"]) for change in life.changes] == [
        (state, "expires_at has passed")
    ]


async def test_a_message_of_a_chat_that_was_muted_meanwhile(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, LOST)
    desk.clock.advance(60)
    mute = partial(chat_state.mute, bot="default", chat_id=ADA, until=desk.clock.now + 60)
    await desk.database.write("mute", mute)
    assert (await ended(desk)).decision.state is MessageState.UNKNOWN
    assert await desk.state(claimed.id) == "unknown"


async def test_a_message_of_a_chat_that_refuses_the_bot_meanwhile(desk: Desk) -> None:
    lost, fresh = submission(), submission(of=event("fresh"))
    await desk.submit(lost)
    (claimed,) = await desk.claim()
    await desk.submit(fresh)
    await desk.finish(claimed, LOST)
    block = partial(chat_state.block, bot="default", chat_id=ADA, reason=Reason.BOT_BLOCKED)
    await desk.database.write("block", block)
    desk.clock.advance(60)
    batch = await desk.batch()
    assert {one.message.title: one.decision.state for one in batch.ended} == {
        "hello": MessageState.UNKNOWN,
        "fresh": MessageState.SUPPRESSED,
    }
    assert await desk.state(claimed.id) == "unknown"
    assert await desk.state(fresh.messages[0][0].id) == "suppressed"


async def test_the_answer_to_an_earlier_part_says_nothing_of_the_next(desk: Desk) -> None:
    """The first part is in the chat, twice perhaps; the second was certainly not sent."""
    await desk.submit(submission(message(expires_at=NOW + 60)))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, LOST, parts=2)
    desk.clock.advance(10)
    (again,) = await desk.claim()
    await desk.finish(again, sent(), parts=2)
    desk.clock.advance(60)
    assert (await ended(desk)).decision.state is MessageState.EXPIRED


async def verdict(desk: Desk, of: str) -> None:
    await desk.submit(submission(message(edits=of), of=event("verdict")))


async def test_the_result_of_a_question_is_sent_where_the_question_may_stand(desk: Desk) -> None:
    await desk.submit(submission(message(expires_at=NOW + 60)))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, LOST)
    await verdict(desk, claimed.id)
    desk.clock.advance(61)
    assert (await ended(desk)).decision.state is MessageState.UNKNOWN
    (result_of,) = await desk.claim()
    assert (result_of.title, result_of.edits, result_of.is_edit) == ("verdict", None, False)


async def test_after_the_edit_of_one_copy_the_result_is_sent_for_the_other(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, LOST)
    desk.clock.advance(10)
    (again,) = await desk.claim()
    await desk.finish(again, sent(502))
    await verdict(desk, claimed.id)
    (edit,) = await desk.claim()
    assert (edit.edits, edit.is_edit, edit.unseen_copy) == (502, True, True)
    await desk.finish(edit, sent(502), parts=2)
    (own,) = await desk.claim()
    assert (own.edits, own.is_edit, own.part) == (502, False, 1)
    # Its own answer can be lost, as that of every message.
    decision = await desk.finish(own, LOST, parts=2)
    assert (decision.state, decision.possible_duplicate) == (MessageState.RETRY_WAIT, True)
    desk.clock.advance(10)
    (own,) = await desk.claim()
    await desk.finish(own, sent(503), parts=2)
    life = await desk.life(own.id)
    assert (life.message["state"], life.message["telegram_message_ids"]) == ("delivered", "502,503")


async def test_a_question_without_lost_answers_is_only_edited(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, NOT_SENT)
    desk.clock.advance(10)
    (again,) = await desk.claim()
    await desk.finish(again, sent(501))
    await verdict(desk, claimed.id)
    (edit,) = await desk.claim()
    assert (edit.edits, edit.unseen_copy) == (501, False)
