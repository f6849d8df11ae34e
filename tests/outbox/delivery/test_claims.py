"""Claim: one message a chat, in order, by lane, when it is due; each on both databases."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from services.kit.database.json_rows import Statement
from services.outbox.chats import chat_heads
from services.outbox.messages import Claimed, Lane, MessageState, Outcome, Reason, Submission
from services.outbox.rate_limit.bot_rate_limiter import LimitedSince
from services.outbox.rate_limit.limits import Limits
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, each, event, message, result, sent, submission


def titles(messages: Sequence[Claimed]) -> list[str]:
    return [message.title for message in messages]


async def test_nothing_waits_in_an_empty_database(desk: Desk) -> None:
    batch = await desk.batch()
    assert (batch.messages, batch.next_at) == ([], None)


async def test_a_claimed_message_has_all_that_its_sending_needs(desk: Desk) -> None:
    posted = submission(message(ADA, thread_id=7, silent=True, lane=Lane.URGENT))
    await desk.submit(posted)
    (claimed,) = await desk.claim()
    event, (new,) = posted.events[0], posted.messages[0]
    assert (claimed.id, claimed.event_id, claimed.title) == (new.id, event.id, event.title)
    assert (claimed.body, claimed.trace, claimed.event_type) == (event.body, event.trace, event.type)
    assert (claimed.chat_id, claimed.thread_id, claimed.silent) == (ADA, 7, True)
    assert (claimed.lane, claimed.attempt, claimed.retries, claimed.part) == (Lane.URGENT, 1, 0, 0)
    assert (claimed.accepted_at, claimed.claimed_at) == (event.accepted_at, NOW)


async def test_the_attempt_is_on_disk_before_the_call(desk: Desk) -> None:
    await desk.submit(submission())
    (claimed,) = await desk.claim()
    life = await desk.life(claimed.id)
    assert life.message["state"] == MessageState.SENDING
    (attempt,) = life.attempts
    assert (attempt["number"], attempt["claimed_at"], attempt["outcome"]) == (1, NOW, None)


async def test_a_chat_has_one_message_in_flight_and_the_next_in_order(desk: Desk) -> None:
    await desk.submit(each(["first", "second", "third"]))
    seen = []
    while claimed := await desk.claim():
        assert len(claimed) == 1
        assert await desk.claim("w2") == []
        seen += claimed
        await desk.finish(claimed[0], sent())
    assert titles(seen) == ["first", "second", "third"]


async def test_order_is_that_of_the_commits_not_of_the_clock(desk: Desk) -> None:
    await desk.submit(each(["first"]))
    desk.clock.advance(-3600)
    await desk.submit(each(["second"]))
    desk.clock.advance(3600)
    (first,) = await desk.claim()
    assert first.title == "first"


async def test_chats_do_not_wait_for_each_other(desk: Desk) -> None:
    await desk.submit(each(["a1", "a2"], ADA), each(["g1"], GRACE))
    assert sorted(titles(await desk.claim())) == ["a1", "g1"]


async def test_the_more_urgent_lane_goes_first(desk: Desk) -> None:
    await desk.submit(each(["bulk"], lane=Lane.BULK), each(["normal"]), each(["urgent"], lane=Lane.URGENT))
    seen = []
    while claimed := await desk.claim():
        seen += claimed
        await desk.finish(claimed[0], sent())
    assert titles(seen) == ["urgent", "normal", "bulk"]


async def test_chats_with_urgent_messages_are_claimed_before_others(desk: Desk) -> None:
    for chat_id in range(1, 6):
        await desk.submit(each([f"bulk-{chat_id}"], chat_id, lane=Lane.BULK))
    await desk.submit(each(["urgent"], 9, lane=Lane.URGENT))
    assert titles(await desk.claim(limit=1)) == ["urgent"]


async def test_an_urgent_message_makes_the_chat_of_a_bulk_one_urgent(desk: Desk) -> None:
    await desk.submit(each(["other"], GRACE), each(["bulk"], ADA, lane=Lane.BULK))
    await desk.submit(each(["urgent"], ADA, lane=Lane.URGENT))
    assert titles(await desk.claim(limit=1)) == ["urgent"]


async def test_no_more_are_claimed_than_may_be_sent(desk: Desk) -> None:
    for chat_id in range(1, 11):
        await desk.submit(submission(message(chat_id)))
    assert len(await desk.claim(limit=3)) == 3
    assert len(await desk.claim(limit=100)) == 7


async def test_a_scheduled_message_waits_for_its_time(desk: Desk) -> None:
    await desk.submit(submission(message(deliver_at=NOW + 60)))
    batch = await desk.batch()
    assert (batch.messages, batch.next_at) == ([], NOW + 60)
    desk.clock.advance(60)
    assert len(await desk.claim()) == 1


async def test_a_message_for_now_does_not_wait_for_a_scheduled_one(desk: Desk) -> None:
    await desk.submit(submission(message(deliver_at=NOW + 60)), each(["now"]))
    (claimed,) = await desk.claim()
    assert claimed.title == "now"
    await desk.finish(claimed, sent())
    assert (await desk.batch()).next_at == NOW + 60


async def test_a_due_scheduled_message_is_not_starved_by_later_ones(desk: Desk) -> None:
    await desk.submit(each(["scheduled"], deliver_at=NOW + 10))
    desk.clock.advance(20)
    await desk.submit(each(["later"]))
    (claimed,) = await desk.claim()
    assert claimed.title == "scheduled"


async def test_a_retry_holds_up_its_lane_and_no_other(desk: Desk) -> None:
    await desk.submit(each(["first", "second"]))
    (first,) = await desk.claim()
    decision = await desk.finish(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    assert await desk.claim() == []
    await desk.submit(each(["urgent"], lane=Lane.URGENT))
    (urgent,) = await desk.claim()
    assert urgent.title == "urgent"
    await desk.finish(urgent, sent())
    assert (await desk.batch()).next_at == decision.due_at
    desk.clock.now = decision.due_at
    (again,) = await desk.claim()
    assert (again.title, again.attempt, again.retries) == ("first", 2, 1)
    await desk.finish(again, sent())
    assert titles(await desk.claim()) == ["second"]


async def test_flood_control_pauses_the_whole_chat(desk: Desk) -> None:
    await desk.submit(each(["first"]))
    (first,) = await desk.claim()
    flood = result(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, retry_after=30.0)
    decision = await desk.finish(first, flood)
    await desk.submit(each(["urgent"], lane=Lane.URGENT), each(["other chat"], GRACE))
    assert titles(await desk.claim()) == ["other chat"]
    assert (await desk.batch()).next_at == decision.due_at
    desk.clock.now = decision.due_at
    assert titles(await desk.claim()) == ["urgent"]


async def test_the_rest_of_a_message_goes_before_anything_else(desk: Desk) -> None:
    await desk.submit(each(["in parts", "next"]))
    (first,) = await desk.claim()
    await desk.submit(each(["urgent"], lane=Lane.URGENT))
    await desk.finish(first, sent(11), parts=2)
    (second,) = await desk.claim()
    assert (second.title, second.part, second.telegram_message_ids) == ("in parts", 1, (11,))
    await desk.finish(second, sent(12), parts=2)
    assert titles(await desk.claim()) == ["urgent"]
    assert (await desk.life(first.id)).message["telegram_message_ids"] == "11,12"


async def test_an_expired_message_is_not_sent_and_the_next_one_is(desk: Desk) -> None:
    expiring = submission(message(expires_at=NOW + 5))
    await desk.submit(expiring, each(["next"]))
    desk.clock.advance(5)
    assert await desk.claim() == []
    assert titles(await desk.claim()) == ["next"]
    life = await desk.life(expiring.messages[0][0].id)
    assert (life.message["state"], life.message["finished_at"]) == (MessageState.EXPIRED, NOW + 5)
    assert life.attempts == []
    assert [(change["state"], change["cause"]) for change in life.changes] == [
        ("expired", "expires_at has passed")
    ]


async def test_telegrams_rate_for_a_chat_is_kept_between_claims(desk: Desk) -> None:
    desk.limits = Limits(chat_per_second=1.0, chat_burst=2.0)
    await desk.submit(each(["1", "2", "3", "4"]))
    for _ in range(2):
        (claimed,) = await desk.claim()
        await desk.finish(claimed, result(Outcome.SENT, started_at=desk.clock.now, message_id=1))
    batch = await desk.batch()
    assert (batch.messages, batch.next_at) == ([], NOW + 1.0)
    desk.clock.advance(1.0)
    (third,) = await desk.claim()
    assert third.title == "3"
    assert third.limiter_wait == pytest.approx(1.0)


async def test_a_new_message_does_not_open_a_paused_chat(desk: Desk) -> None:
    desk.limits = Limits(chat_per_second=1.0, chat_burst=1.0)
    await desk.submit(each(["1"]))
    (first,) = await desk.claim()
    await desk.finish(first, result(Outcome.SENT, started_at=NOW, message_id=1))
    await desk.submit(each(["2"]))
    assert (await desk.batch()).next_at == NOW + 1.0


async def test_a_call_that_never_left_uses_no_rate(desk: Desk) -> None:
    desk.limits = Limits(chat_per_second=0.001, chat_burst=1.0)
    await desk.submit(each(["1"]))
    (first,) = await desk.claim()
    decision = await desk.finish(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    assert (await desk.batch()).next_at == decision.due_at


async def test_limiter_wait_counts_the_bots_rate_too(desk: Desk) -> None:
    await desk.submit(each(["1"]))
    desk.clock.advance(4)
    batch = await desk.batch(paced_since=LimitedSince(others=NOW + 1))
    assert batch.messages[0].limiter_wait == pytest.approx(3.0)


async def test_what_is_paid_for_waits_for_less(desk: Desk) -> None:
    await desk.submit(each(["bulk"], lane=Lane.BULK), each(["normal"], GRACE))
    desk.clock.advance(4)
    batch = await desk.batch(paced_since=LimitedSince(bulk=None, others=NOW + 1))
    assert {m.lane: m.limiter_wait for m in batch.messages} == {Lane.BULK: 0.0, Lane.NORMAL: 3.0}


async def test_two_workers_never_have_the_same_chat(desk: Desk) -> None:
    """Both claim at once, again and again, while the other holds what it has."""
    numbers = range(1, 61)
    for chat_id in numbers:
        await desk.submit(each([f"{chat_id}-{n}" for n in range(3)], chat_id))
    seen: dict[int, list[str]] = {chat_id: [] for chat_id in numbers}
    held: Counter[int] = Counter()

    async def work(owner: str) -> None:
        idle = 0
        while idle < 20:
            claimed = await desk.claim(owner, limit=7)
            idle = 0 if claimed else idle + 1
            for one in claimed:
                held[one.chat_id] += 1
                assert held[one.chat_id] == 1
                seen[one.chat_id].append(one.title)
            await asyncio.sleep(0)
            for one in claimed:
                held[one.chat_id] -= 1
            await asyncio.gather(*(desk.finish(one, sent(), owner=owner) for one in claimed))

    await asyncio.gather(*(work(f"w{n}") for n in range(4)))
    assert seen == {chat_id: [f"{chat_id}-{n}" for n in range(3)] for chat_id in numbers}


async def test_an_enqueue_that_races_with_a_release_is_never_forgotten(desk: Desk) -> None:
    """Whoever comes second, the new message's chat gets its turn."""
    delivered = 0
    rounds = 60

    async def deliver(owner: str) -> int:
        claimed = await desk.claim(owner)
        await asyncio.gather(*(desk.finish(one, sent(), owner=owner) for one in claimed))
        return len(claimed)

    for _ in range(rounds):
        found = await asyncio.gather(
            desk.submit(submission(message(1)), submission(message(2))),
            deliver("w1"),
            desk.submit(submission(message(2)), submission(message(1))),
            deliver("w2"),
        )
        delivered += int(found[1] or 0) + int(found[3] or 0)
    while more := await deliver("w1"):
        delivered += more
    assert delivered == 4 * rounds


async def test_the_short_look_at_a_chat_finds_what_the_whole_one_does(desk: Desk) -> None:
    """Chats of up to four messages, of any lane, time and state: what goes next is the same."""
    dice = random.Random(8)  # noqa: S311 - to have the same chats each time
    kept: list[tuple[Any, ...]] = []
    for chat_id in range(1, 301):
        made = [message(chat_id, lane=dice.choice(list(Lane))) for _ in range(dice.randint(0, 4))]
        kept += [
            (one.id, dice.choice([MessageState.QUEUED] * 3 + [MessageState.RETRY_WAIT]), dice.choice(DUE))
            for one in made
        ]
        if made:
            await desk.submit(Submission(tuple(event() for _ in made), tuple((one,) for one in made)))

    def chosen(connection: Connection) -> list[tuple[Any, ...]]:
        CHANGE.run(connection, kept)
        ids = range(1, 301)
        whole = {
            row["chat_id"]: row for row in chat_heads._rows(connection, chat_heads._ROWS, "default", ids)
        }
        looked = [
            [chat_heads.heads_of(one) for one in (row, whole[row["chat_id"]])]
            for row in chat_heads.read(connection, "default", ids)
        ]
        return [
            tuple((chat_heads.choose(heads, NOW), chat_heads.first_of(heads, NOW)) for heads in pair)
            for pair in looked
        ]

    found = await desk.database.write("claim", chosen)
    assert len(found) > 200
    assert [short for short, _ in found] == [whole for _, whole in found]


DUE = [0.0, 0.0, 0.0, -1.0, NOW - 5, NOW, NOW + 5]
CHANGE = Statement(
    "UPDATE message SET state = given.state, due_at = given.due_at FROM {given} WHERE message.id = given.id",
    id="text",
    state="text",
    due_at="double precision",
)


async def test_what_is_paid_for_is_of_the_bulk_lane_alone(desk: Desk) -> None:
    for chat_id, lane in ((1, Lane.NORMAL), (2, Lane.NORMAL), (3, Lane.BULK), (4, Lane.BULK), (5, Lane.BULK)):
        await desk.submit(each([lane.name], chat_id, lane=lane))
    assert titles(await desk.claim(limit=0, paid=2)) == ["BULK", "BULK"]
    assert sorted(titles(await desk.claim(limit=1, paid=5))) == ["BULK", "NORMAL"]
    assert await desk.claim(limit=0, paid=5) == []
    assert titles(await desk.claim(limit=5, paid=0)) == ["NORMAL"]
