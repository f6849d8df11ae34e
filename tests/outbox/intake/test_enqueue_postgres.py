"""Enqueue as one statement: what is PostgreSQL's alone. What both do is in test_intake.py."""

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.kit.clock import SystemClock
from services.kit.database.connect import StoreUnavailableError, open_database
from services.kit.database.postgres import PostgresDatabase
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.intake.group_commit import Intake, Receipt
from tests.outbox.making import ADA, GRACE, key, message, submission
from tests.servers import Postgres


@pytest.fixture
async def database(postgres: Postgres, telemetry: Telemetry) -> AsyncIterator[PostgresDatabase]:
    name = "t_" + os.urandom(6).hex()
    postgres.sql(f"CREATE DATABASE {name}")
    opened = await open_database(postgres.url(name), telemetry, packages=["services.outbox"])
    assert isinstance(opened, PostgresDatabase)
    yield opened
    await opened.close()
    postgres.sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def intake(database: PostgresDatabase) -> AsyncIterator[Intake]:
    opened = Intake(database, SystemClock(), flushers=1)
    yield opened
    await opened.close()


async def events(database: PostgresDatabase) -> int:
    (row,) = await database.execute("read", "SELECT count(*) FROM event")
    return int(row["count"])


async def test_a_repeated_submission_leaves_nothing_behind(
    intake: Intake, database: PostgresDatabase
) -> None:
    """Neither a turn of its chat, nor a change that tells of a message which is not there."""
    await intake.enqueue(submission(message(ADA), key=key(answer="1")))
    receipt = await intake.enqueue(submission(message(GRACE), key=key(answer="2")))
    assert receipt.replayed == "1"
    assert [row["chat_id"] for row in await database.execute("read", "SELECT chat_id FROM chat")] == [ADA]
    assert len(await database.execute("read", "SELECT id FROM feed")) == 1


async def test_a_key_that_ends_as_it_is_used_again_is_stored_anew(
    intake: Intake, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer is looked up after the commit: by then the keeper may have removed it."""
    await intake.enqueue(submission(key=key()))
    read = database.read

    async def late(operation: str, work: Any) -> Any:
        await database.execute("read", "DELETE FROM idempotency")
        return await read(operation, work)

    monkeypatch.setattr(database, "read", late)
    assert (await intake.enqueue(submission(key=key()))).replayed is None
    monkeypatch.undo()
    assert await events(database) == 2


async def test_a_first_answer_that_cannot_be_read_harms_nobody_else_in_the_group(
    intake: Intake, database: PostgresDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    await intake.enqueue(submission(key=key()))

    async def gone(_operation: str, _work: Any) -> Any:
        raise StoreUnavailableError(OSError("the line is cut"))

    monkeypatch.setattr(database, "read", gone)
    ahead = asyncio.create_task(intake.enqueue(submission()))
    await asyncio.sleep(0)
    repeated, other = await asyncio.gather(
        intake.enqueue(submission(key=key())), intake.enqueue(submission()), return_exceptions=True
    )
    await ahead
    monkeypatch.undo()
    assert isinstance(repeated, StoreUnavailableError)
    assert isinstance(other, Receipt)
    assert await events(database) == 3
