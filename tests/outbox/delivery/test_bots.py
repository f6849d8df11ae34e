"""Several bots on one engine: each by itself, with its own rate, and stopped alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from services.kit.clock import SystemClock
from services.kit.database.connect import open_database
from services.kit.health import Level
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery.retry_policy import Policy
from services.outbox.engine import EngineSettings, Outbox, SendingBot, open_outbox
from services.outbox.messages import Lane, MessageState, Submission
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import message_search, queue_depth
from services.outbox.queries.message_search import Search
from services.outbox.rate_limit.bot_bucket import LocalBucket
from services.outbox.rate_limit.limits import Limits
from services.outbox.schema import attempt
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.conftest import NO_LIMITS
from tests.outbox.making import ADA, GRACE, each, event, message, render, submission
from tests.servers import BOT_ID, Sandbox, sandbox_of, until

SECOND = "1000000002:another-token-of-the-tests"
SECOND_ID = 1_000_000_002


@pytest.fixture
async def sandbox(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """One that knows two bots."""
    async with sandbox_of(tmp_path / "sandbox", sandbox_tokens=[SECOND]) as running:
        yield running


@dataclass
class Engine:
    """Starts an engine with two bots, as often as a test likes."""

    database_url: str
    sandbox: Sandbox
    folder: Path

    @asynccontextmanager
    async def start(
        self,
        *,
        second: str = SECOND,
        limits: Limits = NO_LIMITS,
        paid: float = 0.0,
        others: bool = True,
    ) -> AsyncIterator[Outbox]:
        telemetry = Telemetry("tests", ServiceSettings(data_dir=self.folder))
        database = await open_database(self.database_url, telemetry, packages=["services.outbox"])
        clock = SystemClock()

        def sender(token: str) -> Sender:
            return Sender(make_bot(token, self.sandbox.url, 16), clock, pays_for_bulk=paid > 0)

        try:
            async with open_outbox(
                EngineSettings(concurrency=16, limits=limits, policy=Policy(base=0.02, cap=0.1)),
                database=database,
                telemetry=telemetry,
                metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
                clock=clock,
                sender=sender(DEFAULT_TOKEN),
                render=render,
                paid_bucket=LocalBucket(paid, clock) if paid else None,
                other_bots={"second": SendingBot(sender(second), NO_LIMITS)} if others else None,
            ) as outbox:
                yield outbox
        finally:
            await database.close()
            await asyncio.to_thread(telemetry.close)


@pytest.fixture
def engine(database_url: str, sandbox: Sandbox, tmp_path: Path) -> Engine:
    return Engine(database_url, sandbox, tmp_path)


def posted(title: str, bot: str, chat_id: int = ADA, lane: Lane = Lane.NORMAL) -> Submission:
    of = event(title, accepted_at=SystemClock().time())
    return submission(message(chat_id, bot=bot, lane=lane), of=of)


async def until_delivered(sandbox: Sandbox, number: int) -> list[tuple[int, str]]:
    """Who delivered what, once there is so much."""

    async def there() -> list[tuple[int, str]] | None:
        found = [(call["bot"], call["text"]) for call in await sandbox.delivered()]
        return found if len(found) >= number else None

    found = await until(there)
    assert found is not None
    return found


async def states(outbox: Outbox, bot: str) -> list[str]:
    page = await outbox.database.read("read", partial(message_search.search, criteria=Search(bot=bot)))
    return [row["state"] for row in page.rows]


async def until_states(outbox: Outbox, bot: str, wanted: list[str]) -> None:
    """What Telegram has is settled a moment later."""

    async def look() -> bool:
        return sorted(await states(outbox, bot)) == wanted

    await until(look)


async def test_each_bot_sends_its_own_messages_also_to_the_same_chat(
    engine: Engine, sandbox: Sandbox
) -> None:
    async with engine.start() as outbox:
        for number in range(4):
            await outbox.enqueue(posted(f"first {number}", "default"))
            await outbox.enqueue(posted(f"second {number}", "second"))
        delivered = await until_delivered(sandbox, 8)
    assert [text for bot, text in delivered if bot == BOT_ID] == [f"first {n}" for n in range(4)]
    assert [text for bot, text in delivered if bot == SECOND_ID] == [f"second {n}" for n in range(4)]


async def test_a_refused_token_stops_that_bot_alone_and_its_queue_is_kept(
    engine: Engine, sandbox: Sandbox
) -> None:
    async with engine.start(second="1000000002:revoked") as outbox:
        await outbox.enqueue(posted("kept", "second"))
        await outbox.enqueue(posted("goes", "default"))
        await until_delivered(sandbox, 1)

        async def tried() -> bool:
            page = await outbox.database.read(
                "read", partial(message_search.search, criteria=Search(bot="second"))
            )
            return bool(page.rows[0]["attempts"] == 1 and page.rows[0]["state"] == "queued")

        await until(tried)
        await outbox.enqueue(posted("goes too", "default"))
        delivered = await until_delivered(sandbox, 2)
        assert {bot for bot, _ in delivered} == {BOT_ID}
        refused = Sender(make_bot("1000000002:revoked", sandbox.url, 1), SystemClock())
        async with refused:
            reading = await outbox.check_bot(refused)
        assert (reading.level, reading.measured["error"]) == (Level.UNHEALTHY, "invalid_token")
        assert (await outbox.check_telegram()).level is Level.HEALTHY


async def test_with_a_better_token_what_was_kept_goes(engine: Engine, sandbox: Sandbox) -> None:
    async with engine.start(second="1000000002:revoked") as outbox:
        await outbox.enqueue(posted("kept", "second"))

        async def stopped() -> bool:
            page = await outbox.database.read(
                "read", partial(message_search.search, criteria=Search(bot="second"))
            )
            return bool(page.rows[0]["attempts"] == 1 and page.rows[0]["state"] == "queued")

        await until(stopped)
    async with engine.start():
        assert await until_delivered(sandbox, 1) == [(SECOND_ID, "kept")]


async def test_what_waits_for_a_bot_that_is_not_there_is_told_and_not_lost(
    engine: Engine, sandbox: Sandbox
) -> None:
    async with engine.start(others=False) as outbox:
        await outbox.enqueue(posted("for the second", "second"))
        await outbox.enqueue(posted("and to Grace", "second", GRACE))
        await outbox.enqueue(posted("for the first", "default"))
        await until_delivered(sandbox, 1)
        waits = await outbox.database.read("read", partial(queue_depth.unknown_bots, known=("default",)))
        assert waits == {"second": 2}
        assert (
            await outbox.database.read("read", partial(queue_depth.unknown_bots, known=("second", "default")))
            == {}
        )
        assert await states(outbox, "second") == ["queued", "queued"]
        await until_states(outbox, "default", ["delivered"])
    async with engine.start():
        assert len(await until_delivered(sandbox, 3)) == 3


async def test_two_bots_of_a_process_do_not_take_over_from_each_other_at_its_start(
    engine: Engine, sandbox: Sandbox
) -> None:
    """On SQLite a start takes over every lease; what the other bot has just claimed is not a dead one's."""
    for number in range(3):
        async with engine.start() as outbox:
            for chat_id in (ADA, GRACE):
                for bot in ("default", "second"):
                    await outbox.enqueue(posted(f"{number}", bot, chat_id))
            await until_delivered(sandbox, 4 * (number + 1))
            attempts = await outbox.database.read("read", partial(message_search.search, criteria=Search()))
            assert {row["attempts"] for row in attempts.rows} == {1}
            assert not any(row["possible_duplicate"] for row in attempts.rows)


async def test_a_bot_that_pays_sends_bulk_beyond_its_free_rate_and_nothing_else(
    engine: Engine, sandbox: Sandbox
) -> None:
    await sandbox.post("/chats/range", {"first_id": 100_000, "count": 60})
    free = replace(NO_LIMITS, bot_per_second=0.2)
    async with engine.start(limits=free, paid=1_000.0) as outbox:
        for number in range(40):
            await outbox.enqueue(posted("bulk", "default", 100_000 + number, Lane.BULK))
        for number in range(5):
            await outbox.enqueue(posted("normal", "default", 100_050 + number))
        delivered = await until_delivered(sandbox, 41)
        # The one free message that there is in the first five seconds.
        assert [text for _, text in delivered].count("bulk") == 40
        assert (await states(outbox, "default")).count(MessageState.QUEUED.value) == 4


async def test_the_limiters_wait_is_told_of_what_nobody_pays_for(engine: Engine, sandbox: Sandbox) -> None:
    async with engine.start(limits=replace(NO_LIMITS, bot_per_second=1.0), paid=1_000.0) as outbox:
        of = event("normal", accepted_at=SystemClock().time())
        await outbox.enqueue(submission(message(ADA), message(GRACE), of=of))
        await until_delivered(sandbox, 2)
        waited = sorted(await outbox.database.read("read", _waits))
    # The rate is one a second; what the first was late by is no part of the wait.
    assert waited[1] > 0
    assert waited[0] < waited[1]


def _waits(connection: Connection) -> list[float]:
    return list(connection.execute(select(attempt.c.limiter_wait)).scalars())


async def test_without_paying_bulk_has_the_free_rate(engine: Engine, sandbox: Sandbox) -> None:
    await sandbox.post("/chats/range", {"first_id": 100_000, "count": 60})
    async with engine.start(limits=replace(NO_LIMITS, bot_per_second=0.2)) as outbox:
        await outbox.enqueue(each(["bulk"] * 3, 100_000, lane=Lane.BULK))
        await until_delivered(sandbox, 1)
        await until_states(outbox, "default", ["delivered", "queued", "queued"])
