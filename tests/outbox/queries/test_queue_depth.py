"""How much waits and since when: what is ahead of its time is no backlog, and nothing is read twice."""

from functools import partial

from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import Outcome, Reason
from services.outbox.queries import queue_depth
from services.outbox.queries.queue_depth import QueueDepth
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, event, message, result, sent, submission
from tests.outbox.plans import plan_of

HOUR = 3_600.0


async def measured(desk: Desk) -> QueueDepth:
    return await desk.database.read("depth", partial(queue_depth.measure, now=desk.clock.now))


async def test_an_empty_queue_is_as_old_as_nothing(desk: Desk) -> None:
    found = await measured(desk)
    assert set(found.by_state.values()) == {0}
    assert (found.waiting, found.oldest, found.correlations) == (0, None, 0)


async def test_what_has_a_time_waits_from_then_on(desk: Desk) -> None:
    await desk.submit(submission(message(deliver_at=NOW + HOUR)))
    found = await measured(desk)
    assert (found.by_state["queued"], found.by_state["scheduled"]) == (0, 1)
    assert (found.waiting, found.oldest) == (0, None)
    desk.clock.now = NOW + HOUR + 5
    found = await measured(desk)
    assert (found.by_state["queued"], found.by_state["scheduled"]) == (1, 0)
    assert (found.waiting, found.oldest) == (1, NOW + HOUR)


async def test_what_goes_at_once_waits_from_its_acceptance(desk: Desk) -> None:
    await desk.submit(
        submission(message(deliver_at=NOW + HOUR), of=event(accepted_at=NOW - 20)),
        submission(message(GRACE), of=event(accepted_at=NOW - 10)),
        submission(message(GRACE), of=event(accepted_at=NOW - 5)),
    )
    assert (await measured(desk)).oldest == NOW - 10


async def test_what_had_a_time_and_failed_waits_from_then_on(desk: Desk) -> None:
    await desk.submit(submission(message(deliver_at=NOW + HOUR)))
    desk.clock.now = NOW + HOUR + 5
    (one,) = await desk.claim()
    assert (await measured(desk)).oldest == NOW + HOUR
    await desk.finish(one, result(Outcome.NOT_SENT, Reason.SERVER_ERROR))
    desk.clock.now += 0.1
    found = await measured(desk)
    assert (found.by_state["retry_wait"], found.waiting, found.oldest) == (1, 1, NOW + HOUR)


async def test_an_attempt_does_not_make_a_message_younger(desk: Desk) -> None:
    await desk.submit(submission(message(), of=event(accepted_at=NOW - 20)))
    (one,) = await desk.claim()
    assert (await measured(desk)).oldest == NOW - 20
    await desk.finish(one, result(Outcome.NOT_SENT, Reason.SERVER_ERROR))
    assert (await measured(desk)).oldest == NOW - 20


async def test_a_message_that_was_due_early_does_not_hide_an_older_one(desk: Desk) -> None:
    await desk.submit(
        submission(message(ADA, deliver_at=NOW + HOUR), of=event(accepted_at=NOW - HOUR)),
        submission(message(GRACE, deliver_at=NOW + 10)),
    )
    desk.clock.now = NOW + HOUR
    for one in await desk.claim():
        await desk.finish(one, result(Outcome.NOT_SENT, Reason.SERVER_ERROR))
    found = await measured(desk)
    assert (found.by_state["retry_wait"], found.oldest) == (2, NOW + 10)


async def test_what_was_put_back_waits_from_then_on(desk: Desk) -> None:
    await desk.submit(submission(message()))
    (one,) = await desk.claim()
    await desk.finish(one, result(Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND))
    assert (await measured(desk)).oldest is None
    desk.clock.now += HOUR
    work = partial(cancel_replay.replay, message_id=one.id, by=By("tests", ""), now=desk.clock.now)
    await desk.database.write("replay", work)
    assert (await measured(desk)).oldest == NOW + HOUR


async def test_what_has_ended_counts_no_more(desk: Desk) -> None:
    await desk.submit(submission(message()))
    assert (await measured(desk)).correlations == 0  # it has no correlation id
    (one,) = await desk.claim()
    await desk.finish(one, sent())
    assert set((await measured(desk)).by_state.values()) == {0}


async def test_what_has_a_time_is_counted_by_its_index(desk: Desk) -> None:
    await desk.submit(submission(message(deliver_at=NOW + HOUR)), submission(message(GRACE)))
    asks = partial(queue_depth.measure, now=NOW)
    # In a transaction: its settings end with it.
    plan = await desk.database.write("depth", partial(plan_of, work=asks))
    assert "message_timed" in plan, plan
    assert "message_waits_from" in plan, plan
    assert "Seq Scan" not in plan
    assert "SCAN message" not in plan


async def test_whom_nobody_sends_for_is_found_between_those_who_are_known(desk: Desk) -> None:
    names = ("a", "alerts", "b-1", "b_2", "default", "zz")
    for number, name in enumerate(names):
        await desk.submit(submission(message(ADA, bot=name), message(GRACE, bot=name)))
        known = names[: number + 1]
        assert await desk.database.read("depth", partial(queue_depth.unknown_bots, known=known)) == {}
        others = await desk.database.read("depth", partial(queue_depth.unknown_bots, known=("other",)))
        assert others == dict.fromkeys(known, 2)
    some = await desk.database.read("depth", partial(queue_depth.unknown_bots, known=("b_2", "a", "zz")))
    assert some == {"alerts": 2, "b-1": 2, "default": 2}
