"""Update keys: a later message with the same key edits the earlier one; on both databases."""

import asyncio
import random
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection, select

from services.outbox import schema
from services.outbox.chats import chat_state
from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import By
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
from tests.outbox.making import ADA, GRACE, NOW, event, message, result, sent, submission


def progress(title: str, chat_id: int = ADA, key: str = "deploy", lane: Lane = Lane.NORMAL) -> MessageRecord:
    return message(chat_id, update_key=key, lane=lane)


async def post(desk: Desk, title: str, new: MessageRecord, client: str = "ci") -> MessageRecord:
    await desk.submit(submission(new, of=event(title, client=client)))
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


async def test_another_clients_key_is_another_message(desk: Desk) -> None:
    await post(desk, "mine", progress("mine"), "ci")
    assert await deliver(desk, 501) == ("mine", None)
    await post(desk, "theirs", progress("theirs"), "cd")
    assert await deliver(desk, 502) == ("theirs", None)
    await post(desk, "theirs again", progress("theirs again"), "cd")
    # A waiting edit is superseded by its own client alone.
    await post(desk, "mine again", progress("mine again"), "ci")
    assert [await deliver(desk, 502), await deliver(desk, 501)] == [
        ("theirs again", 502),
        ("mine again", 501),
    ]


async def test_another_topic_of_the_chat_is_another_message(desk: Desk) -> None:
    for number, thread in enumerate((5, 6, None), start=501):
        await post(desk, f"{thread} begins", replace(progress("begins"), thread_id=thread))
        assert await deliver(desk, number) == (f"{thread} begins", None)
    for number, thread in ((501, 5), (502, 6), (503, None), (503, 1)):
        await post(desk, f"{thread} goes on", replace(progress("goes on"), thread_id=thread))
        assert await deliver(desk, number) == (f"{thread} goes on", number)


async def test_an_update_with_an_earlier_timestamp_does_not_replace_a_later_one(desk: Desk) -> None:
    await post(desk, "10 %", replace(progress("10 %"), update_at=NOW - 30))
    await deliver(desk, 501)
    await post(desk, "50 %", replace(progress("50 %"), update_at=NOW - 10))
    late = await post(desk, "20 %", replace(progress("20 %"), update_at=NOW - 20))
    assert await deliver(desk, 501) == ("50 %", 501)
    latest = await post(desk, "30 %", replace(progress("30 %"), update_at=NOW - 15))
    assert await desk.claim() == []
    for one in (late, latest):
        life = await desk.life(one.id)
        assert (life.message["state"], life.message["reason"]) == ("suppressed", "superseded")
    # One of the same time, or without one, is taken in the order of arrival.
    await post(desk, "51 %", replace(progress("51 %"), update_at=NOW - 10))
    assert await deliver(desk, 501) == ("51 %", 501)
    await post(desk, "52 %", progress("52 %"))
    assert await deliver(desk, 501) == ("52 %", 501)


async def test_after_a_later_one_that_failed_an_update_with_an_earlier_timestamp_is_shown(desk: Desk) -> None:
    await post(desk, "50 %", replace(progress("50 %"), update_at=NOW - 10))
    await refuse(desk, Reason.CHAT_NOT_FOUND)
    await post(desk, "20 %", replace(progress("20 %"), update_at=NOW - 20))
    assert await deliver(desk, 502) == ("20 %", None)


async def test_of_many_updates_in_one_request_the_first_and_the_last_are_shown(desk: Desk) -> None:
    updates = [progress(f"{n} %") for n in range(6)]
    await desk.submit(*(submission(one, of=event(f"{n} %", client="ci")) for n, one in enumerate(updates)))
    assert [await deliver(desk, 501), await deliver(desk, 501)] == [("0 %", None), ("5 %", 501)]
    assert await desk.claim() == []
    assert [await desk.state(one.id) for one in updates] == ["delivered", *["suppressed"] * 4, "delivered"]


async def test_in_a_request_the_latest_timestamp_wins_whatever_its_place(desk: Desk) -> None:
    updates = [replace(progress(f"{n} %"), update_at=NOW - 60 + n) for n in (10, 50, 30)]
    titles = ("10 %", "50 %", "30 %")
    await desk.submit(*(submission(one, of=event(title)) for title, one in zip(titles, updates, strict=True)))
    assert [await deliver(desk, 501), await deliver(desk, 501)] == [("10 %", None), ("50 %", 501)]
    assert await desk.claim() == []


async def test_a_state_of_several_messages_is_not_replaced_in_part(desk: Desk) -> None:
    await post(desk, "a long one", progress("a long one"))
    for number in (501, 502):
        (claimed,) = await desk.claim()
        await desk.finish(claimed, sent(number), parts=2)
    await post(desk, "done", progress("done"))
    assert await deliver(desk, 503) == ("done", None)
    await post(desk, "really done", progress("really done"))
    assert await deliver(desk, 503) == ("really done", 503)


async def test_an_update_that_waits_edits_the_message_that_begins_the_key_anew(desk: Desk) -> None:
    """The first message is in the chat, and cannot be edited: the newest state belongs in the new one."""
    await post(desk, "10 %", progress("10 %"))
    await deliver(desk, 501)
    await post(desk, "50 %", progress("50 %"))
    (edit,) = await desk.claim()
    await post(desk, "100 %", progress("100 %"))
    await desk.finish(edit, result(Outcome.NOT_SENT, Reason.BAD_REQUEST))
    assert [await deliver(desk, 502), await deliver(desk, 502)] == [("50 %", None), ("100 %", 502)]


async def replayed(desk: Desk, one: MessageRecord) -> bool:
    work = partial(cancel_replay.replay, message_id=one.id, by=By("ops"), now=desk.clock.now)
    answer = await desk.database.write("replay", work)
    assert answer is not None
    assert answer.replaced is not answer.done
    return answer.done


async def test_an_update_that_has_a_later_one_is_not_replayed(desk: Desk) -> None:
    first = await post(desk, "10 %", progress("10 %"))
    await refuse(desk, Reason.CHAT_NOT_FOUND)
    second = await post(desk, "50 %", progress("50 %"))
    await deliver(desk, 501)
    superseded = await post(desk, "60 %", progress("60 %"))
    failed = await post(desk, "70 %", progress("70 %"))
    await refuse(desk, Reason.NO_RIGHTS)
    assert [await replayed(desk, one) for one in (first, superseded)] == [False, False]
    # The newest can be, and edits what is shown.
    assert await replayed(desk, failed)
    assert await deliver(desk, 501) == ("70 %", 501)
    assert await desk.state(second.id) == "delivered"


async def test_an_update_whose_only_later_one_was_cancelled_or_is_anothers_is_replayed(desk: Desk) -> None:
    first = await post(desk, "10 %", progress("10 %"))
    await refuse(desk, Reason.CHAT_NOT_FOUND)
    await post(desk, "theirs", progress("theirs"), "cd")
    await deliver(desk, 501)
    later = await post(desk, "50 %", progress("50 %"))
    cancel = partial(cancel_replay.cancel, message_id=later.id, by=By("ops"), now=desk.clock.now)
    await desk.database.write("cancel", cancel)
    assert await replayed(desk, first)


async def test_an_outdated_update_is_not_replayed(desk: Desk) -> None:
    await post(desk, "50 %", replace(progress("50 %"), update_at=NOW - 10))
    late = await post(desk, "20 %", replace(progress("20 %"), update_at=NOW - 20))
    await deliver(desk, 501)
    assert not await replayed(desk, late)


async def test_an_update_of_a_group_is_not_replayed_after_one_in_its_supergroup(desk: Desk) -> None:
    old, new = -2001, -1_000_000_002_001
    lost = await post(desk, "10 %", progress("10 %", old))
    await refuse(desk, Reason.NO_RIGHTS)
    await post(desk, "50 %", progress("50 %", old))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, result(Outcome.NOT_SENT, Reason.CHAT_MIGRATED, migrate_to=new))
    assert await deliver(desk, 7) == ("50 %", None)
    assert not await replayed(desk, lost)


async def test_a_muted_chat_shows_the_newest_state_of_what_it_shows(desk: Desk) -> None:
    """An edit makes no sound; a message that stays at "10 %" would be wrong."""
    await post(desk, "10 %", progress("10 %"))
    await deliver(desk, 501)
    mute = partial(chat_state.mute, bot="default", chat_id=ADA, until=desk.clock.now + 60)
    await desk.database.write("mute", mute)
    await post(desk, "50 %", progress("50 %"))
    assert await deliver(desk, 501) == ("50 %", 501)
    # Where the message was deleted, the edit would be a new message.
    deleted = await post(desk, "60 %", progress("60 %"))
    await refuse(desk, Reason.CANNOT_EDIT)
    assert await desk.claim() == []
    assert (await desk.life(deleted.id)).message["reason"] == "muted"


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
    """A chat where Telegram refuses, deletes or does not answer at random; each mishap may add a message.

    Meanwhile an operator replays whatever has failed.
    """

    def __init__(self, desk: Desk, seed: int) -> None:
        self.desk = desk
        self.chance = random.Random(seed)  # noqa: S311 - keeps no secret
        self.shown: dict[int, str] = {}
        self.mishaps = 0
        self._number = 0

    async def takes(self) -> None:
        """Makes an attempt for each message that can be claimed."""
        for one in await self.desk.claim():
            await self.desk.finish(one, self._answer(one))
        self.desk.clock.now += self.chance.choice([0.1, 3, 20])

    def _answer(self, one: Claimed) -> Result:
        if one.edits is not None and one.edits not in self.shown:
            return result(Outcome.NOT_SENT, Reason.CANNOT_EDIT)
        fates = [Reason.NONE, Reason.NONE, *_MISHAPS, Reason.FLOOD_CONTROL]
        # Not for a reason that is known: the edit becomes a message, and what it was to edit stays.
        fates += [Reason.BAD_REQUEST] if one.edits is not None else []
        fate = self.chance.choice(fates)
        if fate is Reason.NONE or one.title == "last":
            self._number += one.edits is None
            at = one.edits or self._number
            self.shown[at] = one.title
            return sent(at)
        self.mishaps += fate in _MISHAPS or fate is Reason.BAD_REQUEST
        return result(_MISHAPS.get(fate, Outcome.NOT_SENT), fate)

    async def replays(self) -> None:
        """Replays all that has failed, as a job does."""

        def work(connection: Connection) -> None:
            seqs = connection.execute(select(schema.message.c.seq)).scalars().all()
            now = self.desk.clock.now
            cancel_replay.replay_all(connection, seqs, By("ops"), now, states=cancel_replay.REPLAYABLE)

        await self.desk.database.write("replay", work)

    def loses_one(self) -> None:
        if self.shown:
            del self.shown[self.chance.choice(list(self.shown))]
            self.mishaps += 1


_MISHAPS = {Reason.NO_RIGHTS: Outcome.NOT_SENT, Reason.NO_ANSWER: Outcome.UNKNOWN}


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_the_newest_state_is_shown_in_the_end(desk: Desk, seed: int) -> None:
    """Failures, deletions, lost answers and delivery times in any order."""
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
        if chance.random() < 0.1:
            await chat.replays()
    for _ in range(60):
        await chat.takes()
    await chat.replays()
    for _ in range(60):
        await chat.takes()
    assert chat.shown[max(chat.shown)] == "last"
    assert len(chat.shown) <= 1 + chat.mishaps
