"""Cancel and replay: compare-and-set, the chat's place in the queue, and the message's history."""

import asyncio
from functools import partial

import pytest

from services.outbox.chats import chat_state
from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import ActionResult, By
from services.outbox.messages import CONTINUATION, MessageState, Outcome, Reason, UnknownPolicy
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, NOW, each, message, result, sent, submission

BY = By("ci", "a typo")
BLOCKED = result(Outcome.NOT_SENT, Reason.BOT_BLOCKED)
BAD = result(Outcome.NOT_SENT, Reason.BAD_REQUEST)


async def cancel(desk: Desk, message_id: str) -> ActionResult | None:
    work = partial(cancel_replay.cancel, message_id=message_id, by=BY, now=desk.clock.now)
    return await desk.database.write("cancel", work)


async def replay(desk: Desk, message_id: str) -> ActionResult | None:
    work = partial(cancel_replay.replay, message_id=message_id, by=BY, now=desk.clock.now)
    return await desk.database.write("replay", work)


async def test_a_waiting_message_is_cancelled_and_the_next_one_goes(desk: Desk) -> None:
    await desk.submit(each(["first", "second"]))
    first = (await desk.claim())[0]
    await desk.finish(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    verdict = await cancel(desk, first.id)
    assert verdict == ActionResult(True, MessageState.CANCELLED, 0, False)
    desk.clock.advance(10)
    (second,) = await desk.claim()
    assert second.title == "second"


async def test_a_message_that_a_worker_has_is_not_cancelled(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    verdict = await cancel(desk, claimed.id)
    assert verdict is not None
    assert (verdict.done, verdict.state) == (False, MessageState.SENDING)


async def test_a_message_of_which_a_part_is_sent_is_not_cancelled(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, sent(), parts=2)
    verdict = await cancel(desk, claimed.id)
    assert verdict == ActionResult(False, MessageState.QUEUED, 1, False)


async def test_a_message_that_may_have_arrived_is_not_sent_again_and_is_not_called_cancelled(
    desk: Desk,
) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.UNKNOWN, Reason.NO_ANSWER))
    assert await desk.state(claimed.id) == "retry_wait"
    assert await cancel(desk, claimed.id) == ActionResult(True, MessageState.UNKNOWN, 0, True)
    life = await desk.life(claimed.id)
    assert [(change["state"], change["cause"]) for change in life.changes] == [
        ("unknown", "cancelled by ci: a typo")
    ]
    desk.clock.advance(3600)
    assert await desk.claim() == []


async def test_of_messages_that_are_cancelled_together_each_ends_as_it_deserves(desk: Desk) -> None:
    lost, refused = submission(message(ADA)), submission(message(2002))
    await desk.submit(lost, refused)
    for one in await desk.claim():
        outcome = Outcome.UNKNOWN if one.chat_id == ADA else Outcome.NOT_SENT
        await desk.finish(one, result(outcome, Reason.SERVER_ERROR))
    ids = [made.messages[0][0].id for made in (lost, refused)]
    work = partial(cancel_replay.cancel_all, message_ids=ids, cause="not needed", now=desk.clock.now)
    await desk.database.write("cancel", work)
    assert [await desk.state(each) for each in ids] == ["unknown", "cancelled"]


async def test_what_a_later_message_was_to_edit_is_not_replayed(desk: Desk) -> None:
    asked = submission(message(on_unknown=UnknownPolicy.HOLD))
    await desk.submit(asked)
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.UNKNOWN, Reason.NO_ANSWER))
    await desk.submit(submission(message(edits=claimed.id)))
    assert await replay(desk, claimed.id) == ActionResult(
        False, MessageState.UNKNOWN, 0, False, replaced=True
    )
    assert await desk.state(claimed.id) == "unknown"


async def test_a_claim_and_a_cancel_at_once_end_in_one_of_the_two(desk: Desk) -> None:
    for number in range(20):
        posted = submission(message(ADA + number))
        await desk.submit(posted)
        (new,) = posted.messages[0]
        batch, verdict = await asyncio.gather(desk.batch(limit=1), cancel(desk, new.id))
        assert verdict is not None
        assert verdict.done is (not batch.messages)
        assert await desk.state(new.id) == ("cancelled" if verdict.done else "sending")


async def test_a_replay_goes_on_at_the_part_that_failed(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, sent(), parts=2)
    (again,) = await desk.claim()
    await desk.finish(again, BAD, parts=2)
    await replay(desk, claimed.id)
    life = await desk.life(claimed.id)
    assert (life.message["due_at"], life.message["part"]) == (CONTINUATION, 1)
    (third,) = await desk.claim()
    assert (third.part, third.attempt, third.telegram_message_ids) == (1, 3, (1,))


async def test_a_replayed_message_has_its_whole_patience_again(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, BAD)
    desk.clock.advance(10 * desk.policy.give_up_after)
    await replay(desk, claimed.id)
    (again,) = await desk.claim()
    assert (again.entered_at, again.accepted_at, again.retries) == (desk.clock.now, NOW, 0)
    late = result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, finished_at=desk.clock.now)
    decision = await desk.finish(again, late)
    assert decision.state is MessageState.RETRY_WAIT


async def test_the_expiry_that_has_passed_is_lifted(desk: Desk) -> None:
    posted = submission(message(expires_at=NOW + 1))
    await desk.submit(posted)
    desk.clock.advance(2)
    assert await desk.claim() == []
    await replay(desk, posted.messages[0][0].id)
    (claimed,) = await desk.claim()
    assert claimed.expires_at is None


async def test_a_replay_of_an_unknown_outcome_is_marked(desk: Desk) -> None:
    await desk.submit(submission(message(on_unknown=UnknownPolicy.HOLD)))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.UNKNOWN, Reason.NO_ANSWER))
    verdict = await replay(desk, claimed.id)
    assert verdict == ActionResult(True, MessageState.QUEUED, 0, True)
    (again,) = await desk.claim()
    assert (again.possible_duplicate, again.resends) == (True, 1)


async def test_a_replay_lifts_the_block_and_the_next_refusal_sets_it_again(desk: Desk) -> None:
    await desk.submit(each(["first", "second"]))
    (first,) = await desk.claim()
    await desk.finish(first, BLOCKED)
    assert await desk.claim() == []
    await replay(desk, first.id)
    (again,) = await desk.claim()
    await desk.finish(again, BLOCKED)
    await desk.submit(each(["third"]))
    batch = await desk.batch()
    assert [(s.message.title, s.decision.state) for s in batch.ended] == [("third", MessageState.SUPPRESSED)]


@pytest.mark.parametrize("state", [MessageState.QUEUED, MessageState.SENDING, MessageState.DELIVERED])
async def test_what_did_not_end_undelivered_is_not_replayed(desk: Desk, state: MessageState) -> None:
    posted = submission()
    await desk.submit(posted)
    if state is not MessageState.QUEUED:
        (claimed,) = await desk.claim()
        if state is MessageState.DELIVERED:
            await desk.finish(claimed, sent())
    verdict = await replay(desk, posted.messages[0][0].id)
    assert verdict is not None
    assert (verdict.done, verdict.state) == (False, state)


async def test_replays_at_once_put_a_message_back_once(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    await desk.finish(claimed, BAD)
    verdicts = await asyncio.gather(*(replay(desk, claimed.id) for _ in range(5)))
    assert [verdict.done for verdict in verdicts if verdict].count(True) == 1
    life = await desk.life(claimed.id)
    assert [change["cause"] for change in life.changes] == ["replayed by ci: a typo"]


async def test_nobody_decides_about_a_message_that_is_not_there(desk: Desk) -> None:
    assert await cancel(desk, "none") is None
    assert await replay(desk, "none") is None


async def test_what_ended_untried_is_reported_with_the_claim(desk: Desk) -> None:
    gone = submission(message(ADA, expires_at=NOW + 1))
    muted = submission(message(2002))
    await desk.submit(gone, muted)
    desk.clock.advance(2)
    mute = partial(chat_state.mute, bot="default", chat_id=2002, until=desk.clock.now + 60)
    await desk.database.write("mute", mute)
    batch = await desk.batch()
    ends = {(s.message.chat_id, s.decision.state, s.result.reason, s.attempted) for s in batch.ended}
    assert ends == {
        (ADA, MessageState.EXPIRED, Reason.EXPIRED, False),
        (2002, MessageState.SUPPRESSED, Reason.MUTED, False),
    }
    assert batch.messages == []
