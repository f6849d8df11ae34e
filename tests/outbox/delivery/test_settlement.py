"""Settle: results of attempts, chats that refuse the bot or migrate, and lost workers."""

from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import Connection, func, select, update

from services.outbox.chats import chat_queue, chat_state
from services.outbox.delivery import bot_state, claimed_rows, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.messages import (
    Claimed,
    Lane,
    MessageState,
    Outcome,
    Reason,
    Settled,
    UnknownPolicy,
)
from services.outbox.schema import bot, chat, message
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, each, result, sent, submission
from tests.outbox.making import message as message_to

TEAM, OPERATIONS = -2001, -1_000_000_000_001
BLOCKED = result(Outcome.NOT_SENT, Reason.BOT_BLOCKED, detail="bot was blocked by the user")
MIGRATED = result(Outcome.NOT_SENT, Reason.CHAT_MIGRATED, migrate_to=OPERATIONS)
NO_ANSWER = result(Outcome.UNKNOWN, Reason.NO_ANSWER)


async def claim_one(desk: Desk, owner: str = "w1") -> Claimed:
    (claimed,) = await desk.claim(owner)
    return claimed


async def test_a_delivered_message_keeps_telegrams_answer(desk: Desk) -> None:
    await desk.submit(submission())
    claimed = await claim_one(desk)
    await desk.finish(claimed, sent(77))
    life = await desk.life(claimed.id)
    assert (life.message["state"], life.message["finished_at"]) == (MessageState.DELIVERED, NOW)
    assert (life.message["telegram_message_ids"], life.message["reason"]) == ("77", "none")
    (attempt,) = life.attempts
    assert (attempt["outcome"], attempt["telegram_message_id"]) == ("sent", 77)
    assert (attempt["started_at"], attempt["finished_at"], attempt["settled_at"]) == (NOW - 0.5, NOW, NOW)


async def test_every_attempt_stays_in_the_log_with_its_cause(desk: Desk) -> None:
    await desk.submit(submission())
    desk.policy = Policy(max_resends=1)
    for failure in (
        result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, detail="refused"),
        result(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, retry_after=5.0),
        NO_ANSWER,
        NO_ANSWER,
    ):
        desk.clock.advance(100)
        await desk.finish(last := await claim_one(desk), failure)
    life = await desk.life(last.id)
    assert [(a["number"], a["reason"], a["state"]) for a in life.attempts] == [
        (1, "connect_failed", "retry_wait"),
        (2, "flood_control", "retry_wait"),
        (3, "no_answer", "retry_wait"),
        (4, "no_answer", "dead_letter"),
    ]
    assert life.attempts[0]["detail"] == "refused"
    assert life.attempts[1]["retry_after"] == 5.0
    assert (life.message["state"], life.message["reason"]) == (MessageState.DEAD_LETTER, "no_answer")
    assert life.message["possible_duplicate"]


async def test_a_possible_duplicate_and_plain_text_are_remembered(desk: Desk) -> None:
    await desk.submit(submission())
    await desk.finish(await claim_one(desk), NO_ANSWER)
    desk.clock.advance(10)
    await desk.finish(await claim_one(desk), result(Outcome.NOT_SENT, Reason.BAD_MARKUP))
    again = await claim_one(desk)
    assert (again.possible_duplicate, again.plain, again.resends, again.retries) == (True, True, 1, 1)


async def test_a_destination_that_refuses_ends_what_waits_for_it(desk: Desk) -> None:
    await desk.submit(each(["1", "2", "3"]), each(["other"], GRACE))
    first, other = sorted(await desk.claim(), key=lambda m: m.chat_id)
    await desk.settle(desk.decided(first, BLOCKED), desk.decided(other, sent()))
    late = submission()
    await desk.submit(late)
    assert await desk.claim() == []
    assert (await desk.batch()).next_at is None
    assert await desk.state(first.id) == MessageState.DEAD_LETTER
    life = await desk.life(late.messages[0][0].id)
    assert (life.message["state"], life.message["reason"]) == (MessageState.SUPPRESSED, "bot_blocked")
    assert life.changes[0]["cause"] == "the destination refuses the bot: bot_blocked"
    assert life.attempts == []


async def test_what_waits_for_a_destination_that_refuses_is_ended_in_portions(desk: Desk) -> None:
    """A claim's transaction stays short, and below the databases' limit of parameters."""
    beyond = chat_state.SUPPRESS_BATCH + 10
    await desk.submit(each([str(n) for n in range(beyond + 1)]))
    await desk.finish(await claim_one(desk), BLOCKED)
    assert await desk.claim() == []
    assert await count_in(desk, MessageState.QUEUED) == 10
    assert await desk.claim() == []
    assert await count_in(desk, MessageState.SUPPRESSED) == beyond
    assert (await desk.batch()).next_at is None


async def count_in(desk: Desk, state: MessageState) -> int:
    query = select(func.count()).select_from(message).where(message.c.state == state.value)
    found: int = await desk.database.read("read", lambda c: c.execute(query).scalar_one())
    return found


async def test_a_migrated_group_takes_its_messages_along_in_order(desk: Desk) -> None:
    await desk.submit(each(["1", "2"], TEAM))
    await desk.finish(await claim_one(desk), MIGRATED)
    seen = []
    while claimed := await desk.claim():
        seen += [(one.title, one.chat_id) for one in claimed]
        await desk.finish(claimed[0], sent())
    assert seen == [("1", OPERATIONS), ("2", OPERATIONS)]


async def test_a_message_for_a_migrated_group_goes_to_its_new_id(desk: Desk) -> None:
    await desk.submit(each(["1"], TEAM))
    await desk.finish(await claim_one(desk), MIGRATED)
    await desk.finish(await claim_one(desk), sent())
    await desk.submit(each(["2"], TEAM))
    claimed = [*await desk.claim(), *await desk.claim()]
    assert [(one.title, one.chat_id) for one in claimed] == [("2", OPERATIONS)]


async def test_two_chats_that_each_became_the_other_do_not_pass_messages_to_and_fro(desk: Desk) -> None:
    """The last answer is believed: a chat that is migrated to counts as not migrated."""
    await desk.submit(each(["1", "2"], TEAM))
    await desk.finish(await claim_one(desk), MIGRATED)
    first = await claim_one(desk)
    assert first.chat_id == OPERATIONS
    await desk.finish(first, replace(MIGRATED, migrate_to=TEAM))
    desk.clock.advance(60.0)
    seen = []
    while claimed := await desk.claim():
        seen += [(one.title, one.chat_id) for one in claimed]
        await desk.finish(claimed[0], sent())
    assert seen == [("1", TEAM), ("2", TEAM)]


async def test_moved_messages_wait_for_the_pace_of_the_new_chat(desk: Desk) -> None:
    await desk.submit(each(["flooded"], OPERATIONS), each(["moved"], TEAM))
    flooded, moved = sorted(await desk.claim(), key=lambda m: m.chat_id)
    flood = result(Outcome.NOT_SENT, Reason.FLOOD_CONTROL, retry_after=60.0)
    decision = await desk.finish(flooded, flood)
    await desk.finish(moved, MIGRATED)
    batch = await desk.batch()
    assert (batch.messages, batch.next_at) == ([], decision.due_at)


async def test_messages_move_to_a_chat_that_a_worker_has_just_now(desk: Desk) -> None:
    await desk.submit(each(["there"], OPERATIONS), each(["moved"], TEAM))
    there, moved = sorted(await desk.claim(), key=lambda m: m.chat_id)
    await desk.finish(moved, MIGRATED)
    assert await desk.claim() == []
    await desk.finish(there, sent())
    assert (await claim_one(desk)).title == "moved"


async def test_urgent_messages_stay_urgent_when_they_move(desk: Desk) -> None:
    await desk.submit(each(["moved"], TEAM, lane=Lane.URGENT))
    await desk.finish(await claim_one(desk), MIGRATED)
    await desk.submit(each(["bulk"], ADA, lane=Lane.BULK), each(["normal"], GRACE))
    (first,) = await desk.claim(limit=1)
    assert first.title == "moved"


@pytest.mark.parametrize("reason", [Reason.INVALID_TOKEN, Reason.BOT_FROZEN])
async def test_a_refused_bot_is_noted_until_it_is_started(desk: Desk, reason: Reason) -> None:
    async def stopped() -> str | None:
        query = select(bot.c.stopped).where(bot.c.name == "default")
        found: str | None = await desk.database.read("bot", lambda c: c.execute(query).scalar())
        return found

    await desk.submit(each(["1"]), each(["2"], GRACE))
    for claimed in await desk.claim():
        await desk.finish(claimed, result(Outcome.NOT_SENT, reason))
    assert await stopped() == reason
    assert len(await desk.claim()) == 2
    await desk.database.write("bot", partial(bot_state.start, name="default"))
    assert await stopped() is None


# Workers that are gone


async def take_over(desk: Desk, owner: str = "w2", *, all_leases: bool = False) -> list[Settled]:
    """As the worker does it, in one transaction."""

    def work(connection: Connection) -> list[Settled]:
        taken = []
        now = desk.clock.now
        for name, gone, chat_ids in settlement.abandoned(
            connection, now, except_owner=owner, all_leases=all_leases
        ):
            lost = result(Outcome.UNKNOWN, Reason.WORKER_LOST, started_at=now, finished_at=now)
            settled = [desk.decided(m, lost) for m in claimed_rows.in_flight(connection, name, chat_ids, now)]
            if settled:
                settlement.settle(connection, gone, settled, desk.limits, now)
            chat_queue.release(connection, name, gone, chat_ids, now=now, pace=chat_queue.pace_of)
            taken += settled
        return taken

    return await desk.database.write("take_over", work)


async def test_a_living_worker_keeps_its_chats(desk: Desk) -> None:
    await desk.submit(submission())
    await claim_one(desk, "w1")
    for _ in range(10):
        desk.clock.advance(chat_queue.LEASE_SECONDS / 2)
        await desk.renew("w1")
        assert await take_over(desk) == []


async def test_a_lost_workers_message_is_sent_again_and_marked(desk: Desk) -> None:
    await desk.submit(each(["first", "second"]))
    first = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    (taken,) = await take_over(desk)
    assert (taken.message.id, taken.result.reason) == (first.id, Reason.WORKER_LOST)
    desk.clock.now = taken.decision.due_at
    again = await claim_one(desk, "w2")
    assert (again.id, again.attempt, again.possible_duplicate, again.resends) == (first.id, 2, True, 1)
    (lost, _) = (await desk.life(first.id)).attempts
    assert (lost["outcome"], lost["reason"], lost["state"]) == ("unknown", "worker_lost", "retry_wait")


async def test_a_lost_workers_message_is_held_where_the_event_asks_for_it(desk: Desk) -> None:
    await desk.submit(submission(message_to(on_unknown=UnknownPolicy.HOLD)), each(["next"]))
    held = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    await take_over(desk)
    assert await desk.state(held.id) == MessageState.UNKNOWN
    assert (await claim_one(desk, "w2")).title == "next"


async def test_a_chat_whose_worker_died_between_two_messages_is_given_back(desk: Desk) -> None:
    await desk.submit(submission())
    claimed = await claim_one(desk, "w1")

    def forget(connection: Connection) -> None:
        connection.execute(update(message).where(message.c.id == claimed.id).values(state="queued"))

    await desk.database.write("settle", forget)
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    assert await take_over(desk) == []
    assert (await claim_one(desk, "w2")).id == claimed.id


async def test_at_the_start_of_the_only_process_every_lease_is_a_dead_ones(desk: Desk) -> None:
    await desk.submit(submission())
    await claim_one(desk, "w1")
    assert await desk.abandoned("w2") == []
    assert await desk.abandoned("w1", all_leases=True) == []
    assert await desk.abandoned("w2", all_leases=True) == [("default", "w1", [ADA])]


async def test_a_late_answer_does_not_undo_what_another_worker_did(desk: Desk) -> None:
    await desk.submit(submission())
    first = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    (taken,) = await take_over(desk)
    desk.clock.now = taken.decision.due_at
    second = await claim_one(desk, "w2")
    lost = await desk.settle(desk.decided(first, sent(1)), owner="w1")
    assert lost == {first.seq}
    assert await desk.state(first.id) == MessageState.SENDING
    assert await desk.claim("w3") == []
    await desk.finish(second, sent(2), owner="w2")
    life = await desk.life(first.id)
    assert (life.message["state"], life.message["telegram_message_ids"]) == (MessageState.DELIVERED, "2")
    assert [a["telegram_message_id"] for a in life.attempts] == [1, 2]


async def test_a_late_answer_ends_a_message_that_nobody_has_tried_again(desk: Desk) -> None:
    await desk.submit(submission())
    first = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    await take_over(desk)
    assert await desk.settle(desk.decided(first, sent(1)), owner="w1") == set()
    assert await desk.state(first.id) == MessageState.DELIVERED
    desk.clock.advance(100)
    assert await desk.claim("w2") == []
    assert (await desk.batch()).next_at is None


async def test_a_late_failure_of_a_held_message_leaves_it_held(desk: Desk) -> None:
    """Otherwise it would wait for ever: its chat is neither leased nor queued."""
    await desk.submit(submission(message_to(on_unknown=UnknownPolicy.HOLD)))
    first = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    await take_over(desk)
    failed = desk.decided(first, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED))
    assert await desk.settle(failed, owner="w1") == {first.seq}
    assert await desk.state(first.id) == MessageState.UNKNOWN


async def test_a_late_answer_does_not_give_back_a_chat_that_was_claimed_again(desk: Desk) -> None:
    """A worker loses its lease, claims the chat again, and then gets the answer to its first call."""
    await desk.submit(each(["first", "second"]))
    first = await claim_one(desk, "w1")
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    (taken,) = await take_over(desk)
    desk.clock.now = taken.decision.due_at
    await claim_one(desk, "w1")
    await desk.settle(desk.decided(first, sent(1)), owner="w1")
    assert await desk.claim("w2") == []


async def test_a_chat_that_somebody_else_has_is_left_alone(desk: Desk) -> None:
    await desk.submit(submission())
    await claim_one(desk, "w1")
    give_back = partial(
        chat_queue.release, bot="default", owner="w2", chat_ids=[ADA], now=NOW, pace=chat_queue.pace_of
    )
    await desk.database.write("settle", give_back)
    query = select(chat.c.owner).where(chat.c.chat_id == ADA)
    assert await desk.database.read("read", lambda c: c.execute(query).scalar()) == "w1"


# A clock that was set back


async def test_a_retry_does_not_wait_for_a_clock_that_was_set_back(desk: Desk) -> None:
    desk.clock.advance(3600)
    await desk.submit(each(["first", "second"]))
    failed = await claim_one(desk)
    await desk.finish(failed, result(Outcome.NOT_SENT, Reason.CONNECT_FAILED, finished_at=desk.clock.now))
    desk.clock.advance(-3600)
    assert await desk.claim() == []
    right = partial(settlement.clock_set_back, now=desk.clock.now, longest_wait=60)
    await desk.database.write("take_over", right)
    await desk.claim()
    desk.clock.advance(60)
    assert (await claim_one(desk)).id == failed.id


async def test_what_telegram_asked_for_is_waited_for_also_when_the_clock_was_set_back(desk: Desk) -> None:
    desk.clock.advance(3600)
    await desk.submit(submission())
    refused = await claim_one(desk)
    flood = result(
        Outcome.NOT_SENT,
        Reason.FLOOD_CONTROL,
        retry_after=300,
        started_at=desk.clock.now,
        finished_at=desk.clock.now,
    )
    await desk.finish(refused, flood)
    await desk.submit(each(["behind it"]))
    desk.clock.advance(-3600)
    right = partial(settlement.clock_set_back, now=desk.clock.now, longest_wait=60)
    await desk.database.write("take_over", right)
    desk.clock.advance(299)
    assert await desk.claim() == []
    desk.clock.advance(2)
    assert (await claim_one(desk)).id == refused.id


async def test_an_appointed_time_is_kept_when_the_clock_was_set_back(desk: Desk) -> None:
    await desk.submit(submission(message_to(deliver_at=desk.clock.now + 100)))
    right = partial(settlement.clock_set_back, now=desk.clock.now, longest_wait=60)
    await desk.database.write("take_over", right)
    assert await desk.claim() == []
    desk.clock.advance(100)
    assert len(await desk.claim()) == 1


async def test_a_lost_workers_lease_does_not_outlast_a_clock_that_was_set_back(desk: Desk) -> None:
    desk.clock.advance(3600)
    await desk.submit(submission())
    await claim_one(desk, "w1")
    desk.clock.advance(-3600)
    right = partial(settlement.clock_set_back, now=desk.clock.now, longest_wait=60)
    await desk.database.write("take_over", right)
    desk.clock.advance(chat_queue.LEASE_SECONDS + 1)
    assert await desk.abandoned() == [("default", "w1", [ADA])]
