"""Counts and durations of the last hour, as the tables have them, on both databases."""

from functools import partial
from math import inf

from sqlalchemy import update

from services.outbox.chats import chat_state
from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import MessageState, Outcome, Reason
from services.outbox.queries import last_hour
from services.outbox.queries.rolling_counts import Second
from services.outbox.schema import message as table
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, event, message, result, sent, submission
from tests.outbox.plans import plan_of

START = int(NOW)


async def seconds(desk: Desk, since: int = START) -> list[Second]:
    return await desk.database.read("depth", partial(last_hour.seconds_since, since=since))


async def deliveries(desk: Desk, since: float = NOW) -> list[tuple[float, float]]:
    return await desk.database.read("depth", partial(last_hour.deliveries_since, since=since))


async def test_accepted_and_finished_messages_are_counted_in_their_seconds(desk: Desk) -> None:
    await desk.submit(submission(message(ADA), message(GRACE)))
    desk.clock.now = NOW + 2.5
    first, second = await desk.claim()
    await desk.finish(first, sent())
    desk.clock.now = NOW + 3.5
    await desk.finish(second, result(Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND))
    assert await seconds(desk) == [
        Second(START, accepted=2),
        Second(START + 2, delivered=1),
        Second(START + 3, failed=1),
    ]
    assert await seconds(desk, START + 3) == [Second(START + 3, failed=1)]


async def test_a_duration_is_from_the_acceptance_or_the_replay_to_the_delivery(desk: Desk) -> None:
    await desk.submit(submission(message(ADA)), submission(message(GRACE), of=event(accepted_at=NOW + 1)))
    desk.clock.now = NOW + 4
    first, second = sorted(await desk.claim(), key=lambda one: one.chat_id)
    await desk.finish(first, result(Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND))
    await desk.finish(second, sent())
    assert await deliveries(desk) == [(NOW + 4, 3.0)]
    replay = partial(cancel_replay.replay, message_id=first.id, by=By("tests"), now=NOW + 100)
    await desk.database.write("replay", replay)
    desk.clock.now = NOW + 102
    (again,) = await desk.claim()
    await desk.finish(again, sent(2))
    assert await deliveries(desk) == [(NOW + 102, 2.0), (NOW + 4, 3.0)]
    assert await deliveries(desk, NOW + 50) == [(NOW + 102, 2.0)]


async def test_messages_that_were_not_wanted_any_more_are_no_failures(desk: Desk) -> None:
    cancelled, muted = message(ADA), message(GRACE)
    await desk.submit(submission(cancelled), submission(muted))
    cancel = partial(cancel_replay.cancel, message_id=cancelled.id, by=By("tests"), now=NOW + 1)
    await desk.database.write("cancel", cancel)
    mute = partial(chat_state.mute, bot="default", chat_id=GRACE, until=NOW + 100)
    await desk.database.write("mute", mute)
    await desk.claim()
    assert await desk.state(muted.id) == "suppressed"
    assert await seconds(desk) == [Second(START, accepted=2)]


async def test_messages_to_a_chat_that_refuses_the_bot_are_failures(desk: Desk) -> None:
    await desk.submit(submission(message(ADA)), submission(message(ADA)))
    (first,) = await desk.claim()
    await desk.finish(first, result(Outcome.NOT_SENT, Reason.BOT_BLOCKED))
    desk.clock.now = NOW + 1.5
    assert await desk.claim() == []
    assert await seconds(desk) == [Second(START, accepted=2, failed=1), Second(START + 1, failed=1)]


async def test_a_message_with_a_time_waits_from_then_on(desk: Desk) -> None:
    """A retry has a due time of its own, and must not hide the first."""
    at_its_time, after_a_retry = message(ADA, deliver_at=NOW + 100), message(GRACE, deliver_at=NOW + 100)
    await desk.submit(submission(at_its_time), submission(after_a_retry))
    desk.clock.now = NOW + 102
    first, second = sorted(await desk.claim(), key=lambda one: one.chat_id)
    assert (first.entered_at, second.entered_at) == (NOW + 100, NOW + 100)
    await desk.finish(first, sent())
    failed = result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, finished_at=NOW + 102)
    decision = await desk.finish(second, failed)
    desk.clock.now = decision.due_at
    (again,) = await desk.claim()
    assert again.entered_at == NOW + 100
    await desk.finish(again, sent(2))
    assert await deliveries(desk) == [(decision.due_at, decision.due_at - NOW - 100), (NOW + 102, 2.0)]


async def test_quiet_hours_are_no_wait_also_if_they_end_early(desk: Desk) -> None:
    one = message(ADA)
    await desk.submit(submission(one))
    seqs = [((await desk.life(one.id)).message["seq"], MessageState.QUEUED)]
    defer = partial(chat_state.defer, messages=seqs, until=NOW + 1_000, cause="quiet hours", now=NOW)
    await desk.database.write("defer", defer)
    end = partial(chat_state.end_deferral, bot="default", chat_id=ADA, now=NOW + 50)
    await desk.database.write("defer", end)
    desk.clock.now = NOW + 60
    (claimed,) = await desk.claim()
    assert claimed.entered_at == NOW + 50
    desk.clock.now = NOW + 61
    await desk.finish(claimed, sent())
    assert await deliveries(desk) == [(NOW + 61, 11.0)]


async def test_an_odd_time_is_left_out_and_the_others_are_counted(desk: Desk) -> None:
    await desk.submit(submission(message(ADA)), submission(message(GRACE)))
    first, second = await desk.claim()
    await desk.finish(first, sent())
    await desk.finish(second, sent())
    odd = update(table).where(table.c.id == first.id).values(accepted_at=inf, finished_at=inf)
    await desk.database.write("odd", lambda connection: connection.execute(odd))
    assert await seconds(desk) == [Second(START, accepted=1, delivered=1)]
    assert await deliveries(desk) == [(NOW, 0.0)]


async def test_the_hour_is_read_by_its_indexes(desk: Desk) -> None:
    await desk.submit(submission(message()))
    for work in (
        partial(last_hour.seconds_since, since=START),
        partial(last_hour.deliveries_since, since=NOW),
    ):
        plan = await desk.database.write("depth", partial(plan_of, work=work))
        assert "message_finished" in plan, plan
        assert "Seq Scan" not in plan
        assert "SCAN message" not in plan
