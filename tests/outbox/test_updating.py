"""Edit in place: a later message with the same update key edits the earlier one; on both databases."""

from services.outbox.messages import Lane, NewMessage, Outcome, Reason, State
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, event, message, result, sent, submission


def progress(title: str, chat_id: int = ADA, key: str = "deploy", lane: Lane = Lane.NORMAL) -> NewMessage:
    return message(chat_id, update_key=key, lane=lane)


async def post(desk: Desk, title: str, new: NewMessage) -> NewMessage:
    await desk.submit(submission(new, of=event(title)))
    return new


async def deliver(desk: Desk, message_id: int) -> tuple[str, int | None]:
    (claimed,) = await desk.claim()
    await desk.finish(claimed, sent(message_id))
    return claimed.title, claimed.edits


async def test_the_first_of_a_key_is_sent_and_the_next_edits_it(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    assert await deliver(desk, 501) == ("10 %", None)
    await post(desk, "50 %", progress("50 %"))
    assert await deliver(desk, 501) == ("50 %", 501)
    await post(desk, "100 %", progress("100 %"))
    assert await deliver(desk, 501) == ("100 %", 501)


async def test_an_edit_waits_until_what_it_edits_is_sent(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    await post(desk, "50 %", progress("50 %"))
    assert await deliver(desk, 501) == ("10 %", None)
    assert await deliver(desk, 501) == ("50 %", 501)


async def test_only_the_newest_of_the_waiting_edits_is_shown(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    superseded = await post(desk, "40 %", progress("40 %"))
    await post(desk, "50 %", progress("50 %"))
    life = await desk.life(superseded.id)
    assert life.message["state"] == State.SUPPRESSED
    assert life.message["reason"] == Reason.SUPERSEDED
    assert [change["cause"] for change in life.changes] == ["a later event with the same update key"]
    assert [await deliver(desk, 501), await deliver(desk, 501)] == [("10 %", None), ("50 %", 501)]


async def test_within_one_request_the_first_is_sent_and_the_rest_edit_it(desk: Desk) -> None:
    await desk.submit(
        submission(progress("10 %"), of=event("10 %")), submission(progress("50 %"), of=event("50 %"))
    )
    assert [await deliver(desk, 501), await deliver(desk, 501)] == [("10 %", None), ("50 %", 501)]


async def test_another_key_or_chat_is_another_message(desk: Desk) -> None:
    await post(desk, "a", progress("a"))
    assert await deliver(desk, 501) == ("a", None)
    await post(desk, "b", progress("b", key="backup"))
    assert await deliver(desk, 502) == ("b", None)
    await post(desk, "c", progress("c", chat_id=GRACE))
    assert await deliver(desk, 503) == ("c", None)


async def test_an_urgent_edit_does_not_overtake_what_it_edits(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    await post(desk, "failed", progress("failed", lane=Lane.URGENT))
    assert [await deliver(desk, 501), await deliver(desk, 501)] == [("10 %", None), ("failed", 501)]


async def test_after_a_first_that_never_arrived_the_next_is_sent_anew(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND))
    await post(desk, "50 %", progress("50 %"))
    assert await deliver(desk, 502) == ("50 %", None)
