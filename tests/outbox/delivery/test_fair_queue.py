"""Clients take turns: one's backlog does not starve another."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection
from sqlalchemy.event import listen, remove

from services.outbox.delivery import claims, ready_chats
from services.outbox.delivery.fair_queue import FairQueue
from services.outbox.messages import Claimed, Lane, Outcome, Submission
from services.outbox.rate_limit.limits import Limits
from tests.outbox.conftest import Desk
from tests.outbox.making import NOW, event, message, result, sent

PER_SECOND = 30
CROWD = 5_000


def posted(client: str, chat_ids: Sequence[int], **changes: Any) -> Submission:
    """One message to each chat."""
    events = tuple(event(f"{client}-{chat_id}", client=client) for chat_id in chat_ids)
    return Submission(events, tuple((message(chat_id, **changes),) for chat_id in chat_ids))


class Fair:
    """A desk whose worker remembers the clients' clocks."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.fair_queue = FairQueue()

    async def claim(self, limit: int) -> list[Claimed]:
        def work(connection: Connection) -> list[Claimed]:
            return claims.claim(
                connection,
                "default",
                "w1",
                limit,
                now=self.desk.clock.now,
                fair_queue=self.fair_queue,
            ).messages

        return await self.desk.database.write("claim", work)

    async def seconds(self, number: int) -> list[list[str]]:
        """The titles that are delivered in each of the next seconds of bot time."""
        told = []
        for _ in range(number):
            claimed = await self.claim(PER_SECOND)
            at = self.desk.clock.now
            delivered = [
                self.desk.decided(m, result(Outcome.SENT, started_at=at, message_id=1)) for m in claimed
            ]
            if delivered:
                await self.desk.settle(*delivered)
            told.append([m.title for m in claimed])
            self.desk.clock.advance(1)
        return told


@pytest.fixture
def fair(desk: Desk) -> Fair:
    return Fair(desk)


def second_of(title: str, seconds: list[list[str]]) -> int:
    return next(number for number, titles in enumerate(seconds, 1) if title in titles)


async def test_a_fresh_message_does_not_wait_behind_another_clients_five_thousand(fair: Fair) -> None:
    await fair.desk.submit(posted("noisy", range(1, CROWD + 1)))
    before = await fair.seconds(3)
    await fair.desk.submit(posted("quiet", [CROWD + 1]))
    seconds = await fair.seconds(2)
    assert second_of(f"quiet-{CROWD + 1}", seconds) == 1
    assert all(len(titles) == PER_SECOND for titles in before + seconds)


async def test_a_chat_that_telegram_paces_keeps_its_turn_among_clients(fair: Fair) -> None:
    """The second message of the quiet client's chat comes due behind a crowd that is ready."""
    fair.desk.limits = Limits(bot_per_second=PER_SECOND, chat_per_second=1.0, chat_burst=1.0)
    await fair.desk.submit(posted("noisy", range(1, 1_001)))
    await fair.desk.submit(posted("quiet", [2_001, 2_001, 2_001]))
    seconds = await fair.seconds(5)
    assert [titles.count("quiet-2001") for titles in seconds] == [1, 1, 1, 0, 0]


async def test_two_backlogs_share_the_bot_evenly_and_leave_nothing_idle(fair: Fair) -> None:
    await fair.desk.submit(posted("a", range(1, 301)), posted("b", range(1_001, 1_101)))
    seconds = await fair.seconds(14)
    for titles in seconds[:6]:
        shares = Counter(title[0] for title in titles)
        assert shares == {"a": PER_SECOND / 2, "b": PER_SECOND / 2}
    assert [len(titles) for titles in seconds] == [PER_SECOND] * 13 + [10]


async def test_single_slots_go_round_the_clients(fair: Fair) -> None:
    """At a slow rate each claim has room for one: fairness is kept between claims."""
    for client in ("a", "b", "c"):
        base = ord(client) * 100
        await fair.desk.submit(posted(client, range(base, base + 10)))
    told = [(await fair.claim(1))[0].title[0] for _ in range(12)]
    for start in range(0, 12, 3):
        assert sorted(told[start : start + 3]) == ["a", "b", "c"]


async def test_lanes_come_before_turns(fair: Fair) -> None:
    await fair.desk.submit(posted("quiet", [1], lane=Lane.NORMAL))
    await fair.desk.submit(posted("noisy", range(2, 12), lane=Lane.URGENT))
    assert {m.title for m in await fair.claim(10)} == {f"noisy-{n}" for n in range(2, 12)}
    assert [m.title for m in await fair.claim(10)] == ["quiet-1"]


async def test_order_in_a_chat_that_two_clients_share_is_that_of_acceptance(fair: Fair) -> None:
    await fair.desk.submit(posted("noisy", range(1, 50)))
    for client in ("a", "b", "a", "b"):
        await fair.desk.submit(posted(client, [77]))
    seen: list[str] = []
    for titles in await fair.seconds(6):
        seen += [title for title in titles if title.endswith("-77")]
    assert seen == ["a-77", "b-77", "a-77", "b-77"]


async def test_due_times_come_before_turns(fair: Fair) -> None:
    await fair.desk.submit(posted("a", [1], deliver_at=NOW + 10), posted("b", [2], deliver_at=NOW + 20))
    assert await fair.claim(10) == []
    assert (await fair.desk.batch()).next_at == NOW + 10
    fair.desk.clock.advance(10)
    assert [m.title for m in await fair.claim(10)] == ["a-1"]


async def test_the_next_message_of_a_chat_has_the_turn_of_its_own_client(fair: Fair) -> None:
    """Chat 1 goes on with the noisy client's message: it is that one's turn, not the first one's."""
    await fair.desk.submit(posted("quiet", [1]), posted("noisy", [1, *range(100, 200)]))
    first = await fair.claim(2)
    assert sorted(m.title for m in first) == ["noisy-100", "quiet-1"]
    for m in first:
        await fair.desk.finish(m, sent())
    await fair.desk.submit(posted("quiet", [2]))
    told = [(await fair.claim(1))[0].title for _ in range(2)]
    assert "quiet-2" in told


async def test_a_claim_costs_the_same_whatever_waits(desk: Desk, fair: Fair) -> None:
    """Counted in SQLite's own instructions, or PostgreSQL's pages: a measure that no busy machine moves."""

    async def cost() -> int:
        def work(connection: Connection) -> int:
            return _cost_of(connection, desk.clock.now)

        return await desk.database.write("claim", work)

    await desk.submit(posted("a", range(1, 101)), posted("b", range(10_001, 10_011)))
    await desk.database.write("depth", lambda c: c.exec_driver_sql("ANALYZE"))
    few = await cost()
    await desk.submit(posted("a", range(101, 5_001)), posted("b", range(10_011, 10_500), deliver_at=NOW + 60))
    await desk.database.write("depth", lambda c: c.exec_driver_sql("ANALYZE"))
    many = await cost()
    assert many <= 1.5 * few + 20


def _cost_of(connection: Connection, now: float) -> int:
    """SQLite's instructions in tens, or PostgreSQL's pages."""
    queries: list[tuple[Any, dict[str, Any]]] = [
        (ready_chats._WAITING, {"bot": "default"}),
        (
            ready_chats._READY.of(connection),
            {
                "bot": "default",
                "lane": int(Lane.NORMAL),
                "now": now,
                "client": "a",
                "room": 30,
                "given": "[]",
            },
        ),
    ]
    if connection.dialect.name == "sqlite":
        return _instructions(connection, queries)

    def explained(_: Any, __: Any, sql: str, parameters: Any, ___: Any, ____: Any) -> tuple[str, Any]:
        return f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", parameters

    listen(connection, "before_cursor_execute", explained, retval=True)
    try:
        plans = [connection.execute(*query).all()[0][0] for query in queries]
    finally:
        remove(connection, "before_cursor_execute", explained)
    tops = [plan[0]["Plan"] for plan in plans]
    return sum(int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"]) for top in tops)


def _instructions(connection: Connection, queries: list[tuple[Any, dict[str, Any]]]) -> int:
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    driver: Any = connection.connection.dbapi_connection
    driver.set_progress_handler(count, 10)
    for query in queries:
        assert connection.execute(*query).all()
    driver.set_progress_handler(None, 10)
    return counted


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from("abcd"), min_size=1), st.integers(1, 9)), min_size=1, max_size=60
    )
)
def test_nobody_gets_more_than_one_who_always_waits(rounds: list[tuple[set[str], int]]) -> None:
    """Whoever else comes and goes: "z" always has something, and nobody is ever two turns ahead of it."""
    fair_queue = FairQueue()
    served: Counter[str] = Counter()
    for others, room in rounds:
        shares = fair_queue.shares(Lane.NORMAL, {*others, "z"}, room)
        assert sum(shares.values()) == room
        fair_queue.served(Lane.NORMAL, shares)
        served.update(shares)
        assert max(served.values()) <= served["z"] + 2


def test_silence_earns_no_credit() -> None:
    fair_queue = FairQueue()
    for _ in range(100):
        fair_queue.served(Lane.NORMAL, fair_queue.shares(Lane.NORMAL, {"a"}, 10))
    shares = fair_queue.shares(Lane.NORMAL, {"a", "b"}, 10)
    assert shares["b"] <= 6


def test_when_nothing_waits_all_are_even_and_nobody_is_remembered() -> None:
    fair_queue = FairQueue()
    for number in range(1_000):
        fair_queue.served(Lane.NORMAL, fair_queue.shares(Lane.NORMAL, {f"client-{number}"}, 2))
    fair_queue.reset(Lane.NORMAL)
    assert fair_queue._lanes[Lane.NORMAL]._of == {}
    assert fair_queue.shares(Lane.NORMAL, {"client-1", "new"}, 2) == {"client-1": 1, "new": 1}
