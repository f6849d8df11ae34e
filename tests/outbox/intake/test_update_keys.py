"""Edit in place: a later message with the same update key edits the earlier one; on both databases."""

import asyncio
import random
from dataclasses import replace

import pytest

from services.outbox.messages import (
    Claimed,
    Lane,
    MessageRecord,
    MessageState,
    Outcome,
    Reason,
    Result,
    UnknownPolicy,
)
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, event, message, result, sent, submission


def progress(title: str, chat_id: int = ADA, key: str = "deploy", lane: Lane = Lane.NORMAL) -> MessageRecord:
    return message(chat_id, update_key=key, lane=lane)


async def post(desk: Desk, title: str, new: MessageRecord) -> MessageRecord:
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
    assert life.message["state"] == MessageState.SUPPRESSED
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


async def refuse(desk: Desk, reason: Reason, outcome: Outcome = Outcome.NOT_SENT) -> str:
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(outcome, reason))
    return claimed.title


async def test_where_the_first_is_given_up_what_was_to_edit_it_is_sent(desk: Desk) -> None:
    await post(desk, "10 %", progress("10 %"))
    await post(desk, "50 %", progress("50 %"))
    assert await refuse(desk, Reason.CHAT_NOT_FOUND) == "10 %"
    assert await deliver(desk, 502) == ("50 %", None)
    await post(desk, "100 %", progress("100 %"))
    assert await deliver(desk, 502) == ("100 %", 502)


async def test_where_nobody_knows_of_the_first_the_next_is_sent_and_edited_from_then_on(desk: Desk) -> None:
    await post(desk, "10 %", replace(progress("10 %"), on_unknown=UnknownPolicy.HOLD))
    await post(desk, "50 %", progress("50 %"))
    assert await refuse(desk, Reason.NO_ANSWER, Outcome.UNKNOWN) == "10 %"
    assert await deliver(desk, 502) == ("50 %", None)
    await post(desk, "100 %", progress("100 %"))
    assert await deliver(desk, 502) == ("100 %", 502)


async def test_a_first_whose_time_has_not_come_is_superseded_by_what_is_due(desk: Desk) -> None:
    later = await post(desk, "10 %", replace(progress("10 %"), deliver_at=desk.clock.now + 60))
    await post(desk, "50 %", progress("50 %"))
    assert await deliver(desk, 502) == ("50 %", None)
    assert (await desk.life(later.id)).message["reason"] == Reason.SUPERSEDED
    desk.clock.now += 61
    assert await desk.claim() == []


async def test_a_message_that_was_deleted_in_the_chat_is_sent_anew_and_edited_from_then_on(
    desk: Desk,
) -> None:
    await post(desk, "10 %", progress("10 %"))
    await deliver(desk, 501)
    await post(desk, "50 %", progress("50 %"))
    assert await refuse(desk, Reason.CANNOT_EDIT) == "50 %"
    assert await deliver(desk, 502) == ("50 %", None)
    await post(desk, "100 %", progress("100 %"))
    assert await deliver(desk, 502) == ("100 %", 502)


async def test_the_verdict_on_what_was_never_shown_is_needed_by_nobody(desk: Desk) -> None:
    asked = await post(desk, "asked", message())
    await refuse(desk, Reason.CHAT_NOT_FOUND)
    verdict = await post(desk, "verdict", message(edits=asked.id))
    assert await desk.claim() == []
    assert (await desk.life(verdict.id)).message["reason"] == Reason.NEVER_SENT


async def test_in_a_supergroup_the_key_goes_on_with_a_message_of_its_own(desk: Desk) -> None:
    old, new = -2001, -1_000_000_002_001
    await post(desk, "10 %", progress("10 %", old))
    await deliver(desk, 501)
    await post(desk, "50 %", progress("50 %", old))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.NOT_SENT, Reason.CHAT_MIGRATED, migrate_to=new))
    # Number 501 may be another message there.
    assert await deliver(desk, 7) == ("50 %", None)
    await post(desk, "100 %", progress("100 %", old))
    (last,) = await desk.claim()
    assert (last.title, last.chat_id, last.edits) == ("100 %", new, 7)


async def test_of_many_that_begin_a_key_at_once_one_is_sent_and_the_newest_edits_it(desk: Desk) -> None:
    await asyncio.gather(*(post(desk, f"{n}", progress(f"{n}")) for n in range(20)))
    assert (await deliver(desk, 501))[1] is None
    assert (await deliver(desk, 501))[1] == 501
    assert await desk.claim() == []


class Chat:
    """A chat of a Telegram that loses, refuses and forgets by chance; each mishap may cost one message."""

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)  # noqa: S311 - keeps no secret
        self.shown: dict[int, str] = {}
        self.mishaps = 0
        self._number = 0

    async def takes(self) -> None:
        """All that may go now is tried."""
        for one in await self.desk.claim():
            await self.desk.finish(one, self._answer(one))
        self.desk.clock.now += self.chance.choice([0.1, 3, 20])

    def _answer(self, one: Claimed) -> Result:
        if one.edits is not None and one.edits not in self.shown:
            return result(Outcome.NOT_SENT, Reason.CANNOT_EDIT)
        fate = self.chance.choice([Reason.NONE, Reason.NONE, *_MISHAPS, Reason.FLOOD_CONTROL])
        if fate is Reason.NONE or one.title == "last":
            self._number += one.edits is None
            at = one.edits or self._number
            self.shown[at] = one.title
            return sent(at)
        self.mishaps += fate in _MISHAPS
        return result(_MISHAPS.get(fate, Outcome.NOT_SENT), fate)

    def loses_one(self) -> None:
        if self.shown:
            del self.shown[self.chance.choice(list(self.shown))]
            self.mishaps += 1


_MISHAPS = {Reason.NO_RIGHTS: Outcome.NOT_SENT, Reason.NO_ANSWER: Outcome.UNKNOWN}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_newest_state_is_shown_in_the_end(desk: Desk, seed: int) -> None:
    """Failures, deletions, lost answers and appointed times in any order."""
    chat = Chat(desk, seed)
    chance = chat.chance
    for title in (*(f"{n} %" for n in range(30)), "last"):
        at = desk.clock.now + chance.choice([5, 50]) if chance.random() < 0.2 else 0.0
        new = replace(progress(title), on_unknown=chance.choice(list(UnknownPolicy)), deliver_at=at)
        await post(desk, title, new)
        if chance.random() < 0.1:
            chat.loses_one()
        for _ in range(chance.randrange(3)):
            await chat.takes()
    for _ in range(60):
        await chat.takes()
    assert chat.shown[max(chat.shown)] == "last"
    assert len(chat.shown) <= 1 + chat.mishaps
