"""Counts and durations of the last hour, as the tables have them, on both databases."""

from functools import partial

from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import Outcome, Reason
from services.outbox.queries import last_hour
from services.outbox.queries.rolling_counts import Second
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


async def test_suppressed_and_cancelled_messages_are_no_failures(desk: Desk) -> None:
    one = message(ADA)
    await desk.submit(submission(one))
    await desk.database.write(
        "cancel", partial(cancel_replay.cancel, message_id=one.id, by=By("tests"), now=NOW + 1)
    )
    assert await seconds(desk) == [Second(START, accepted=1)]


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
