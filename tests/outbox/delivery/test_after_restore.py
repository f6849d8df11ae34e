"""What waited in a backup is never sent as if it were new; on both databases."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import select

from services.outbox.chats import chat_state
from services.outbox.delivery import after_restore
from services.outbox.delivery.after_restore import PORTION, Unfinished, Unsent
from services.outbox.intake import cancel_replay
from services.outbox.intake.cancel_replay import By
from services.outbox.messages import MessageState, Origin, Outcome, Reason, UnknownPolicy
from services.outbox.schema import chat, restore_log
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, each, event, message, result, sent, submission

HOUR = 3_600.0


async def restored(desk: Desk, unsent: Unsent) -> Unfinished:
    """An hour after the backup."""
    desk.clock.advance(HOUR)
    work = partial(after_restore.apply, unsent=unsent, backup_at=desk.clock.now - HOUR, now=desk.clock.now)
    return await desk.database.write("restore", work)


async def row(desk: Desk, message_id: str) -> dict[str, Any]:
    return dict((await desk.life(message_id)).message)


async def test_what_waited_is_held_until_a_person_replays_it(desk: Desk) -> None:
    waiting = message()
    await desk.submit(submission(waiting))
    assert await restored(desk, Unsent.HOLD) == Unfinished(held=1, marked=0, scheduled=0)
    assert await desk.claim() == []
    life = await desk.life(waiting.id)
    assert (life.message["state"], life.message["reason"]) == ("unknown", "restored")
    assert [change["cause"] for change in life.changes] == [
        "restored from a backup of 1970-01-12T13:46:40.000Z: it may have been sent since; held"
    ]
    replay = partial(cancel_replay.replay, message_id=waiting.id, by=By("ada"), now=desk.clock.now)
    await desk.database.write("replay", replay)
    (claimed,) = await desk.claim()
    assert claimed.may_have_arrived


async def test_what_waited_is_sent_again_with_a_mark(desk: Desk) -> None:
    waiting = message()
    await desk.submit(submission(waiting))
    assert await restored(desk, Unsent.MARK) == Unfinished(held=0, marked=1, scheduled=0)
    (claimed,) = await desk.claim()
    assert claimed.id == waiting.id
    assert (claimed.possible_duplicate, claimed.resends) == (True, 1)
    assert claimed.may_have_arrived
    life = await desk.life(waiting.id)
    assert life.changes[0]["cause"].endswith("it may have been sent since; marked")


@pytest.mark.parametrize("unsent", Unsent)
async def test_what_had_ended_at_the_backup_stays_as_it_was(desk: Desk, unsent: Unsent) -> None:
    await desk.submit(each(["delivered", "failed"]))
    for answer in (sent(), result(Outcome.NOT_SENT, Reason.CHAT_NOT_FOUND)):
        (claimed,) = await desk.claim()
        await desk.finish(claimed, answer)
    assert await restored(desk, unsent) == Unfinished(0, 0, 0)
    assert await desk.claim() == []


@pytest.mark.parametrize("unsent", Unsent)
async def test_what_is_scheduled_for_later_stays_and_what_was_due_meanwhile_does_not(
    desk: Desk, unsent: Unsent
) -> None:
    later, meanwhile = message(deliver_at=NOW + 2 * HOUR), message(GRACE, deliver_at=NOW + HOUR / 2)
    await desk.submit(submission(later, meanwhile))
    found = await restored(desk, unsent)
    assert (found.held + found.marked, found.scheduled) == (1, 1)
    assert not (await row(desk, later.id))["possible_duplicate"]
    assert (await row(desk, meanwhile.id))["possible_duplicate"]
    desk.clock.advance(HOUR)
    assert later.id in [claimed.id for claimed in await desk.claim()]


async def test_the_end_of_quiet_hours_is_no_proof_that_it_was_not_sent(desk: Desk) -> None:
    quiet = message()
    await desk.submit(submission(quiet))
    seq = (await row(desk, quiet.id))["seq"]
    waiting = [(seq, MessageState.QUEUED)]
    defer = partial(chat_state.defer, messages=waiting, until=NOW + 2 * HOUR, cause="quiet", now=NOW)
    await desk.database.write("defer", defer)
    assert (await restored(desk, Unsent.HOLD)).held == 1


@pytest.mark.parametrize(
    ("unsent", "of", "policy", "held"),
    [
        (Unsent.MARK, Origin.CLIENT, UnknownPolicy.HOLD, True),
        (Unsent.HOLD, Origin.ALERT, UnknownPolicy.RESEND, False),
        (Unsent.HOLD, Origin.APPROVAL, UnknownPolicy.RESEND, True),
        (Unsent.HOLD, Origin.BOT, UnknownPolicy.RESEND, True),
    ],
)
async def test_an_event_that_forbids_repetitions_is_held_and_an_alert_is_marked_in_any_case(
    desk: Desk, unsent: Unsent, of: Origin, policy: UnknownPolicy, held: bool
) -> None:
    one = message(on_unknown=policy)
    await desk.submit(submission(one, of=event(origin=of)))
    assert (await restored(desk, unsent)).held == held
    assert await desk.state(one.id) == ("unknown" if held else "queued")


@pytest.mark.parametrize("unsent", Unsent)
async def test_what_was_being_sent_has_an_attempt_with_an_unknown_outcome(desk: Desk, unsent: Unsent) -> None:
    being_sent = message()
    await desk.submit(submission(being_sent))
    await desk.claim()
    await restored(desk, unsent)
    (attempt,) = (await desk.life(being_sent.id)).attempts
    state = "unknown" if unsent is Unsent.HOLD else "queued"
    assert (attempt["outcome"], attempt["reason"], attempt["state"]) == ("unknown", "restored", state)
    again = await desk.claim(owner="w2")
    assert [claimed.attempt for claimed in again] == ([] if unsent is Unsent.HOLD else [2])


async def test_a_message_goes_on_at_the_part_that_was_next(desk: Desk) -> None:
    await desk.submit(submission(of=event(body='{"parts":["one","two","three"]}')))
    (claimed,) = await desk.claim()
    await desk.finish(claimed, sent(), parts=3)
    await desk.claim()
    await restored(desk, Unsent.MARK)
    (claimed,) = await desk.claim(owner="w2")
    assert (claimed.part, claimed.resends) == (1, 1)


async def test_leases_of_the_old_workers_end(desk: Desk) -> None:
    await desk.submit(submission(message(ADA)), submission(message(GRACE)))
    await desk.claim()
    await restored(desk, Unsent.MARK)
    owners = select(chat.c.owner)
    assert await desk.database.read("look", lambda c: c.execute(owners).scalars().all()) == [None, None]
    assert len(await desk.claim(owner="w2")) == 2


async def test_more_than_one_portion_is_marked(desk: Desk) -> None:
    await desk.submit(*(each([f"n{n}" for n in range(100)], chat_id=ADA + c) for c in range(12)))
    found = await restored(desk, Unsent.MARK)
    assert found.marked == 1_200 > 2 * PORTION


async def test_the_restore_is_logged_in_the_database(desk: Desk) -> None:
    await desk.submit(submission())
    await restored(desk, Unsent.HOLD)
    log = await desk.database.read("look", lambda c: dict(c.execute(select(restore_log)).mappings().one()))
    assert log == {
        "id": 1,
        "backup_at": NOW,
        "restored_at": NOW + HOUR,
        "unsent": "hold",
        "held": 1,
        "marked": 0,
    }
