"""Messages that wait in a digest: no claim takes them, and they end as the message that shows them."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, select

from services.outbox.delivery import after_restore
from services.outbox.delivery.after_restore import Unfinished, Unsent
from services.outbox.intake import digest_ends, digests, enqueue
from services.outbox.messages import DigestKey, MessageRecord, MessageState
from services.outbox.messages.digest import MOST_MEMBERS
from services.outbox.schema import digest, digest_member
from tests.outbox.conftest import Desk
from tests.outbox.making import NOW, event, message, sent, submission

KEY = DigestKey("nightly", 900.0)


def member(key: DigestKey = KEY) -> MessageRecord:
    return message(digest=key)


async def combined(desk: Desk) -> str | None:
    """The id of the message that shows the due digest; None: it had nothing to show."""

    def work(connection: Connection) -> str | None:
        (digest_id,) = digest_ends.due(connection, desk.clock.now, 10)
        taken = digest_ends.take(connection, digest_id, desk.clock.now)
        assert taken is not None
        assert digest_ends.take(connection, digest_id, desk.clock.now) is None
        rows = digest_ends.waiting(connection, digest_id, desk.clock.now)
        if not rows:
            return None
        shown = message()
        enqueue.insert(connection, [submission(shown)], desk.clock.now)
        digest_ends.combine(connection, taken, rows, shown.id, desk.clock.now)
        return shown.id

    return await desk.database.write("combine", work)


async def test_no_claim_sees_a_message_that_waits_in_a_digest_and_others_pass_it(desk: Desk) -> None:
    waits, other = member(), message()
    await desk.submit(submission(waits))
    await desk.submit(submission(other))
    assert [claimed.id for claimed in await desk.claim()] == [other.id]
    desk.clock.advance(10_000)
    assert waits.id not in [claimed.id for claimed in await desk.claim()]
    assert await desk.state(waits.id) == "queued"


async def test_a_full_digest_is_sent_at_once_and_the_next_message_opens_another(desk: Desk) -> None:
    many = [member() for _ in range(MOST_MEMBERS + 1)]
    for start in range(0, len(many), 100):
        await desk.submit(submission(*many[start : start + 100], of=event()))

    def found(connection: Connection) -> list[tuple[int, float]]:
        rows = connection.execute(select(digest.c.members, digest.c.until).order_by(digest.c.members))
        return [(row.members, row.until) for row in rows]

    assert await desk.database.read("read", found) == [(1, NOW + 900), (MOST_MEMBERS, NOW)]


@pytest.mark.parametrize(("unsent", "result"), [(Unsent.HOLD, (2, 0)), (Unsent.MARK, (0, 2))])
async def test_a_digest_whose_window_ended_after_the_backup_may_have_been_sent(
    desk: Desk, unsent: Unsent, result: tuple[int, int]
) -> None:
    await desk.submit(submission(member(), member(), of=event()))
    later = member(DigestKey("weekly", 7_200.0))
    await desk.submit(submission(later))
    desk.clock.advance(3_600)
    apply = partial(after_restore.apply, unsent=unsent, backup_at=NOW, now=desk.clock.now)
    assert await desk.database.write("restore", apply) == Unfinished(*result, scheduled=1)
    shown = await combined(desk)
    if unsent is Unsent.MARK:
        (claimed,) = await desk.claim()
        assert (claimed.id, claimed.may_have_arrived) == (shown, True)
    else:
        assert shown is None
    assert not (await desk.life(later.id)).message["possible_duplicate"]


async def test_members_end_once_as_their_message_did_and_retention_deletes_the_digest(desk: Desk) -> None:
    members = [member(), member()]
    await desk.submit(submission(*members, of=event()))
    desk.clock.advance(900)
    shown = await combined(desk)
    (claimed,) = await desk.claim()
    assert claimed.id == shown
    assert await desk.database.read("read", partial(digest_ends.ended, most=10)) == []
    await desk.finish(claimed, sent())
    (digest_id,) = await desk.database.read("read", partial(digest_ends.ended, most=10))
    follow = partial(digest_ends.follow, digest_id=digest_id, now=desk.clock.now)
    ended = [await desk.database.write("follow", follow) for _ in range(2)]
    assert ended[0] is not None
    assert (ended[0].state, ended[0].messages, ended[1]) == (MessageState.DELIVERED, 2, None)
    assert [await desk.state(one.id) for one in members] == ["delivered"] * 2
    for before, gone in ((NOW + 900, 0), (NOW + 901, 1)):
        delete = partial(digests.delete_old, before=before, most=10)
        assert await desk.database.write("retention", delete) == gone
    assert await desk.database.read("read", _left) == 0


def _left(connection: Connection) -> Any:
    return connection.execute(select(func.count()).select_from(digest_member)).scalar()
