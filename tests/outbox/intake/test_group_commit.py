"""Enqueue: what is accepted is on disk before anybody is told so."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, func, insert, select

from services.kit.clock import SystemClock
from services.kit.database.connect import Database, StoreUnavailableError
from services.kit.errors import Problem
from services.outbox.intake import group_commit
from services.outbox.intake.group_commit import Intake, Receipt
from services.outbox.messages import Submission
from services.outbox.schema import event, idempotency, message, once
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, each, key, submission
from tests.outbox.making import event as new_event
from tests.outbox.making import message as new_message


@pytest.fixture
async def intake(database: Database) -> AsyncIterator[Intake]:
    opened = Intake(database, SystemClock(), flushers=1 if database.single_process else 2)
    yield opened
    await opened.close()


async def count(database: Database, table: Any) -> int:
    query = select(func.count()).select_from(table)
    found: int = await database.read("read", lambda c: c.execute(query).scalar_one())
    return found


def commits_of(database: Database) -> float:
    """Units of work so far, as the metric tells."""
    (family,) = [f for f in database._durations.collect() if f.name == "database_query_duration_seconds"]
    return sum(
        s.value for s in family.samples if s.name.endswith("_count") and s.labels["operation"] == "enqueue"
    )


async def test_an_event_and_its_messages_are_stored_together(intake: Intake, database: Database) -> None:
    posted = submission(new_message(ADA), new_message(GRACE))
    receipt = await intake.enqueue(posted)
    assert receipt.replayed is None
    assert (await count(database, event), await count(database, message)) == (1, 2)


async def test_what_is_stored_can_be_claimed(intake: Intake, desk: Desk) -> None:
    await intake.enqueue(each(["hello"]))
    desk.clock.now = SystemClock().time() + 1
    assert [m.title for m in await desk.claim()] == ["hello"]


async def test_an_event_without_recipients_is_stored_alone(intake: Intake, database: Database) -> None:
    await intake.enqueue(Submission((new_event(),), ((),)))
    assert (await count(database, event), await count(database, message)) == (1, 0)


async def test_what_a_commit_stored_is_told_once_behind_its_answers(database: Database) -> None:
    order: list[str] = []
    told: list[Submission] = []

    def stored(submissions: Sequence[Submission], committed_at: float) -> None:
        order.append("told")
        told.extend(submissions)
        assert abs(committed_at - SystemClock().time()) < 60

    intake = Intake(database, SystemClock(), flushers=1, stored=stored)

    async def post(one: Submission) -> None:
        await intake.enqueue(one)
        order.append("answered")

    first = submission(key=key("first"))
    await post(first)
    await intake.close()
    others = [submission(key=key("first")), submission(), submission()]
    gone = asyncio.create_task(intake.enqueue(submission()))
    crowd = [asyncio.create_task(post(one)) for one in others]
    await asyncio.sleep(0)
    gone.cancel()  # its client has gone: it is stored, and told, all the same
    await asyncio.gather(gone, *crowd, return_exceptions=True)
    await intake.close()
    await asyncio.sleep(0)
    assert len(told) == 1 + 2 + 1
    assert others[0] not in told[1:]
    assert order[:2] == ["answered", "told"]


async def test_concurrent_requests_share_commits(intake: Intake, database: Database) -> None:
    before = commits_of(database)
    receipts = await asyncio.gather(*(intake.enqueue(submission()) for _ in range(400)))
    assert all(isinstance(receipt, Receipt) for receipt in receipts)
    assert await count(database, message) == 400
    assert commits_of(database) - before <= 400 / 4


async def test_a_lone_request_waits_for_nobody(intake: Intake, database: Database) -> None:
    before = commits_of(database)
    await intake.enqueue(submission())
    assert commits_of(database) - before == 1


async def test_a_repetition_with_the_same_body_gets_the_first_answer(
    intake: Intake, database: Database
) -> None:
    first = await intake.enqueue(submission(key=key(answer='{"n":1}')))
    second = await intake.enqueue(submission(key=key(answer='{"n":2}')))
    assert (first.replayed, second.replayed) == (None, '{"n":1}')
    assert (await count(database, event), await count(database, message)) == (1, 1)


async def test_a_key_used_with_another_body_is_refused(intake: Intake, database: Database) -> None:
    await intake.enqueue(submission(key=key(body="one")))
    with pytest.raises(Problem) as refused:
        await intake.enqueue(submission(key=key(body="two")))
    assert refused.value.status == 422
    assert await count(database, event) == 1


async def test_a_key_in_flight_is_refused(intake: Intake, database: Database) -> None:
    first = asyncio.create_task(intake.enqueue(submission(key=key())))
    await asyncio.sleep(0)
    with pytest.raises(Problem) as refused:
        await intake.enqueue(submission(key=key()))
    assert refused.value.status == 409
    assert (await first).replayed is None
    assert (await intake.enqueue(submission(key=key()))).replayed is not None


async def test_keys_of_different_clients_are_different(intake: Intake, database: Database) -> None:
    mine = key()
    theirs = type(mine)("somebody else", mine.key, mine.body_hash, mine.answer)
    await intake.enqueue(submission(key=mine))
    assert (await intake.enqueue(submission(key=theirs))).replayed is None
    assert await count(database, event) == 2


async def test_replicas_that_get_the_same_key_at_once_store_it_once(database: Database) -> None:
    replicas = [Intake(database, SystemClock(), flushers=1) for _ in range(4)]
    receipts = await asyncio.gather(
        *(one.enqueue(submission(key=key(f"k{n}", answer=f"{n}"))) for one in replicas for n in range(10))
    )
    assert sum(receipt.replayed is None for receipt in receipts) == 10
    assert await count(database, event) == await count(database, idempotency) == 10


async def test_a_group_of_new_repeated_and_wrong_keys_is_told_apart(
    intake: Intake, database: Database
) -> None:
    await asyncio.gather(*(intake.enqueue(submission(key=key(f"old-{n}"))) for n in range(5)))
    outcomes = await asyncio.gather(
        *(intake.enqueue(submission(key=key(f"old-{n}"))) for n in range(3)),
        *(intake.enqueue(submission(key=key(f"old-{n}", body="other"))) for n in (3, 4)),
        *(intake.enqueue(submission(key=key(f"new-{n}"))) for n in range(4)),
        intake.enqueue(submission()),
        return_exceptions=True,
    )
    told = [
        outcome.status
        if isinstance(outcome, Problem)
        else isinstance(outcome, Receipt) and outcome.replayed is None
        for outcome in outcomes
    ]
    assert told == [False] * 3 + [422] * 2 + [True] * 5
    assert await count(database, event) == 10


async def test_too_much_under_way_is_refused_rather_than_kept_in_memory(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING", 3)
    running = [asyncio.create_task(intake.enqueue(submission())) for _ in range(4)]
    await asyncio.sleep(0)
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    assert [(problem.status, problem.headers) for problem in refused] == [(503, {"Retry-After": "1"})]
    await intake.enqueue(submission())


async def test_a_failing_group_tells_every_request(intake: Intake, database: Database) -> None:
    """The same event twice breaks the commit that both are in; nothing of the group is kept."""
    twice = submission()
    outcomes = await asyncio.gather(
        *(intake.enqueue(one) for one in (submission(), twice, twice)), return_exceptions=True
    )
    assert any(isinstance(outcome, Exception) for outcome in outcomes)
    stored = sum(isinstance(outcome, Receipt) for outcome in outcomes)
    assert await count(database, event) == stored
    await intake.enqueue(submission())
    assert await count(database, event) == stored + 1


async def test_a_store_that_is_gone_is_said_so_and_its_key_is_free_again(
    intake: Intake, database: Database
) -> None:
    def break_it(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE event RENAME TO hidden")

    def mend_it(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO event")

    await database.write("read", break_it)
    outcomes = await asyncio.gather(
        *(intake.enqueue(submission(key=key(f"k{n}"))) for n in range(3)), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError] * 3
    await database.write("read", mend_it)
    assert (await intake.enqueue(submission(key=key("k1")))).replayed is None
    assert await count(database, event) == 1


async def test_a_request_that_goes_away_harms_nobody_in_its_group(intake: Intake, database: Database) -> None:
    going = asyncio.create_task(intake.enqueue(submission(key=key())))
    staying = asyncio.create_task(intake.enqueue(submission()))
    await asyncio.sleep(0)
    going.cancel()
    assert (await staying).replayed is None
    await intake.close()
    assert await count(database, event) in (1, 2)


async def test_closing_waits_for_what_is_under_way(database: Database) -> None:
    intake = Intake(database, SystemClock(), flushers=1)
    running = [asyncio.create_task(intake.enqueue(submission())) for _ in range(50)]
    await asyncio.sleep(0)
    await intake.close()
    assert all(task.done() for task in running) or len(await asyncio.gather(*running)) == 50
    assert await count(database, event) == 50


async def test_what_belongs_to_a_submission_is_stored_with_it_or_not_at_all(
    intake: Intake, database: Database
) -> None:
    written: list[str] = []

    def beside(connection: Connection, name: str) -> None:
        connection.execute(insert(once).values(scope="tests", name=name, at=1.0))
        written.append(name)

    def fails(_: Connection) -> None:
        raise RuntimeError("of this test")

    of = submission(key=key())
    await intake.enqueue(replace(of, alongside=partial(beside, name="first")))
    # A repeated key gets the first answer, and writes nothing.
    await intake.enqueue(replace(of, alongside=partial(beside, name="again")))
    with pytest.raises(RuntimeError, match="of this test"):
        await intake.enqueue(replace(submission(), alongside=fails))
    assert written == ["first"]
    assert (await count(database, once), await count(database, message)) == (1, 1)
