"""A message that cannot be settled, claimed or taken over ends by itself, and the others go on."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from sqlalchemy import Connection, update

from services.kit.clock import SystemClock
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import worker
from services.outbox.delivery.leases import Leases
from services.outbox.delivery.plan import ChatRules, Deferral
from services.outbox.delivery.retry_policy import Policy
from services.outbox.engine import EngineSettings, Outbox, open_outbox
from services.outbox.messages import Claimed, MessageState, Rendered, Result, Settled, Submission
from services.outbox.metrics import OutboxMetrics
from services.outbox.queries import message_timeline
from services.outbox.schema import chat, event, message
from services.outbox.telegram.bot_api import make_bot
from services.outbox.telegram.sender import Sender
from services.telegram_sandbox.settings import DEFAULT_TOKEN
from tests.outbox.conftest import NO_LIMITS, Desk
from tests.outbox.making import ADA, GRACE, each, render
from tests.servers import ManualClock, Sandbox, until

FIRST, NUMBER = 100_000, 9
BAD = FIRST
CHATS = range(FIRST, FIRST + NUMBER)


class OddSender(Sender):
    """Reports results for one chat that no database can hold."""

    def __init__(self, url: str, **odd: Any) -> None:
        super().__init__(make_bot(DEFAULT_TOKEN, url, 16), SystemClock())
        self._odd = odd

    async def send(self, message: Claimed, rendered: Rendered) -> Result:
        sent = await super().send(message, rendered)
        return replace(sent, **self._odd) if message.chat_id == BAD else sent


@pytest.fixture(autouse=True)
def _polling_helps_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "POLL_SECONDS", 3600.0)


def outbox_of(
    database: Database, telemetry: Telemetry, sender: Sender, rules: ChatRules | None = None
) -> Any:
    return open_outbox(
        EngineSettings(concurrency=16, limits=NO_LIMITS, policy=Policy(base=0.02, cap=0.1)),
        database=database,
        telemetry=telemetry,
        metrics=OutboxMetrics(telemetry.registry, {"custom_event": "custom"}),
        clock=SystemClock(),
        sender=sender,
        render=render,
        rules=rules or ChatRules(),
    )


async def row_of(database: Database, message_id: str) -> Mapping[str, Any]:
    work = partial(message_timeline.timeline, message_id=message_id)
    life = await database.read("read", work)
    assert life is not None
    return life.message


async def all_ended(outbox: Outbox, submissions: Sequence[Submission]) -> dict[int, str]:
    """The final state of each chat's message."""
    ids = [(one.messages[0][0].chat_id, one.messages[0][0].id) for one in submissions]

    async def states() -> dict[int, str] | None:
        rows = {chat_id: await row_of(outbox.database, message_id) for chat_id, message_id in ids}
        ended = all(row["finished_at"] is not None for row in rows.values())
        return {chat_id: row["state"] for chat_id, row in rows.items()} if ended else None

    found = await until(states)
    assert found is not None
    return found


GOOD_ENDS = dict.fromkeys(CHATS, "delivered")


@pytest.mark.parametrize("odd", [{"message_id": 10**30}, {"retry_after": 10**30}, {"detail": 7}], ids=str)
async def test_a_result_that_cannot_be_written_ends_its_message_and_no_other(
    database: Database, telemetry: Telemetry, sandbox: Sandbox, odd: dict[str, Any]
) -> None:
    await sandbox.post("/chats/range", {"first_id": FIRST, "count": NUMBER})
    posted = [each(["hello"], chat_id) for chat_id in CHATS]
    async with outbox_of(database, telemetry, OddSender(sandbox.url, **odd)) as outbox:
        await asyncio.gather(*(outbox.enqueue(one) for one in posted))
        assert await all_ended(outbox, posted) == GOOD_ENDS | {BAD: "dead_letter"}
        bad = await row_of(database, posted[0].messages[0][0].id)
        # It was sent: a replay says that it may be a repetition.
        assert (bad["reason"], bad["possible_duplicate"]) == ("unprocessable", True)
        again = [each(["again"], chat_id) for chat_id in CHATS if chat_id != BAD]
        await asyncio.gather(*(outbox.enqueue(one) for one in again))
        assert set((await all_ended(outbox, again)).values()) == {"delivered"}
    value = telemetry.registry.get_sample_value("cctelegram_dead_letters_total", {"reason": "unprocessable"})
    assert value == 1


async def test_a_result_that_cannot_be_written_at_a_stop_loses_no_other(
    database: Database, telemetry: Telemetry, sandbox: Sandbox
) -> None:
    await sandbox.post("/chats/range", {"first_id": FIRST, "count": NUMBER})
    await sandbox.faults({"kind": "latency", "seconds": 0.3, "times": None})
    posted = [each(["hello"], chat_id) for chat_id in CHATS]
    async with outbox_of(database, telemetry, OddSender(sandbox.url, message_id=10**30)) as outbox:
        await asyncio.gather(*(outbox.enqueue(one) for one in posted))

        async def open_attempts() -> bool:
            rows = [await row_of(database, one.messages[0][0].id) for one in posted]
            return all(row["state"] == MessageState.SENDING for row in rows)

        await until(open_attempts)
    states = [(await row_of(database, one.messages[0][0].id))["state"] for one in posted]
    assert states == ["dead_letter", *["delivered"] * (NUMBER - 1)]


def _raises(message: Claimed, _settings: str, _now: float) -> Deferral | None:
    raise RuntimeError("odd settings" + "\0" * (message.chat_id == BAD))


async def test_a_chat_that_cannot_be_claimed_ends_its_message_and_no_other(
    database: Database, telemetry: Telemetry, sandbox: Sandbox
) -> None:
    await sandbox.post("/chats/range", {"first_id": FIRST, "count": NUMBER})
    posted = [each(["hello"], chat_id) for chat_id in CHATS]
    desk = Desk(database, ManualClock())
    await desk.submit(*posted)
    odd = update(chat).where(chat.c.chat_id == BAD).values(settings="odd")
    await database.write("f", lambda connection: connection.execute(odd))
    sender = Sender(make_bot(DEFAULT_TOKEN, sandbox.url, 16), SystemClock())
    async with outbox_of(database, telemetry, sender, ChatRules(defers=_raises)) as outbox:
        assert await all_ended(outbox, posted) == GOOD_ENDS | {BAD: "dead_letter"}
    life = await desk.life(posted[0].messages[0][0].id)
    assert life.message["reason"] == "unprocessable"
    assert [change["cause"] for change in life.changes] == ["RuntimeError: odd settings"]


ODD_ROWS: list[tuple[Any, dict[str, Any]]] = [
    (message, {"lane": 7}),
    (message, {"lane": -32_768}),
    (message, {"on_unknown": "zz"}),
    (message, {"telegram_message_ids": "zz"}),
    (message, {"telegram_message_ids": ",,"}),
    (message, {"state": "queued", "part": 2**31 - 1}),
    (message, {"retries": 2**31 - 1}),
    (message, {"resends": 2**31 - 1}),
    (message, {"attempts": 2**31 - 1}),
    (message, {"due_at": -1e300}),
    (message, {"thread_id": 2**63 - 1}),
    (event, {"traceparent": "zz"}),
    (event, {"origin": "zz"}),
    (event, {"body": ""}),
    (event, {"severity": "zz"}),
]


async def test_whatever_stands_in_some_rows_the_messages_of_other_chats_go_on(
    database: Database, telemetry: Telemetry, sandbox: Sandbox
) -> None:
    number = len(ODD_ROWS)
    await sandbox.post("/chats/range", {"first_id": FIRST, "count": number + NUMBER})
    posted = [each(["hello"], FIRST + n) for n in range(number + NUMBER)]
    await Desk(database, ManualClock()).submit(*posted)
    for (table, odd), one in zip(ODD_ROWS, posted, strict=False):
        bad = one.messages[0][0].id if table is message else one.events[0].id
        damage = update(table).where(table.c.id == bad).values(**odd)
        await database.write("f", partial(Connection.execute, statement=damage))
    sender = Sender(make_bot(DEFAULT_TOKEN, sandbox.url, 16), SystemClock())
    async with outbox_of(database, telemetry, sender) as outbox:
        assert set((await all_ended(outbox, posted[number:])).values()) == {"delivered"}
        # A row that is odd in a way that does not matter is delivered; any other has an end too.
        assert set((await all_ended(outbox, posted[:number])).values()) <= {"delivered", "dead_letter"}


async def test_an_open_attempt_that_cannot_be_taken_over_ends_and_the_others_are_taken_over(
    desk: Desk,
) -> None:
    """PostgreSQL's integers end at 31 bits; SQLite's do not, and there nothing fails."""
    await desk.submit(each(["odd"], ADA), each(["good"], GRACE))
    odd, good = sorted(await desk.claim("lost"), key=lambda m: m.chat_id)
    damage = update(message).where(message.c.seq == odd.seq).values(resends=2**31 - 1, retries=2**31 - 1)
    await desk.database.write("f", lambda connection: connection.execute(damage))
    taken: list[Settled] = []

    async def taken_over(batch: Sequence[Settled]) -> None:
        taken.extend(batch)

    desk.clock.advance(60.0)
    policy = Policy(max_resends=2**40)
    keeping = Leases(
        database=desk.database,
        clock=desk.clock,
        owner="ours",
        limits=NO_LIMITS,
        policy=policy,
        taken_over=taken_over,
    )
    task = asyncio.create_task(keeping.run())

    async def both() -> bool:
        return len(taken) == 2

    await until(both)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await desk.state(good.id) == MessageState.RETRY_WAIT
    is_limited = desk.database.dialect == "postgresql"
    assert await desk.state(odd.id) == (MessageState.UNKNOWN if is_limited else MessageState.RETRY_WAIT)
