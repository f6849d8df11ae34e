"""Totals count each change of the feed once, whichever replicas count, crash or start again."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import text

from services.bridge import app as bridge_app
from services.bridge.settings import BridgeSettings
from services.bridge.tracking import totals
from services.bridge.tracking.totals import Count, Totals, TotalsCounter
from services.kit.database.connect import Database, open_database
from services.kit.telemetry.telemetry import Telemetry
from services.outbox import change_feed
from services.outbox.change_feed import Entry, Position
from tests.bridge.people import ADA, GRACE, Bridge, bridge_of
from tests.servers import ManualClock, until

NOW = 1_000_000.0
GONE = 424_242
LIFE: list[Entry] = [
    ("id-1", "queued", 0, ""),
    (1, "sending", 1, ""),
    (1, "retry_wait", 1, "no_answer"),
    (1, "sending", 2, ""),
    (1, "delivered", 2, ""),
]


@pytest.fixture
async def store(database_url: str, telemetry: Telemetry) -> AsyncIterator[Database]:
    """A database with the bridge's tables, where counting has begun."""
    opened = await open_database(database_url, telemetry, packages=bridge_app.PACKAGES)
    await opened.write("totals", partial(totals.begin, now=NOW))
    yield opened
    await opened.close()


async def happens(store: Database, *entries: Entry) -> None:
    await store.write("feed", partial(change_feed.write, entries=entries, now=NOW))


async def read(store: Database) -> Count:
    return await store.read("totals", partial(totals.read, now=NOW))


async def write_back(store: Database, count: Count) -> None:
    await store.write("totals", partial(totals.write_back, count=count))


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        (LIFE, Totals(accepted=1, delivered=1, retries=1)),
        ([(1, "dead_letter", 1, "chat_not_found")], Totals(failed=1, dead_letters=1)),
        ([(1, "unknown", 1, "no_answer")], Totals(failed=1, unknown=1)),
        ([(1, "expired", 0, "expired")], Totals(failed=1)),
        ([(1, "suppressed", 0, "bot_blocked"), (2, "suppressed", 0, "chat_gone")], Totals(failed=2)),
        ([(1, "suppressed", 0, "superseded"), (2, "suppressed", 0, "never_sent")], Totals()),
        ([(1, "suppressed", 0, "muted"), (2, "cancelled", 0, "cancelled by ci")], Totals()),
        # Queued again: by a replay, by a part that was sent.
        ([(1, "queued", 0, "replayed by ci"), (1, "queued", 1, "")], Totals()),
        # Quiet hours postpone a message that waits for its next attempt.
        ([(1, "retry_wait", 0, "quiet hours until 07:00")], Totals()),
    ],
)
def test_each_change_is_counted_as_what_it_is(entries: list[Entry], expected: Totals) -> None:
    assert Totals().plus(entries) == expected


async def test_counting_begins_once_at_the_end_of_the_feed(store: Database) -> None:
    await happens(store, *LIFE)
    await store.write("totals", partial(totals.begin, now=NOW + 50))
    count = await read(store)
    assert (count.totals, count.since) == (Totals(accepted=1, delivered=1, retries=1), NOW)


async def test_a_count_that_is_written_back_goes_on_from_there(store: Database) -> None:
    await happens(store, *LIFE)
    await write_back(store, await read(store))
    again = await read(store)
    assert (again.totals.accepted, again.stored) == (1, again.position)
    await happens(store, *LIFE)
    assert (await read(store)).totals == Totals(accepted=2, delivered=2, retries=2)


async def test_of_replicas_that_write_back_at_the_same_time_one_does(store: Database) -> None:
    await happens(store, *LIFE)
    one, two = await read(store), await read(store)
    await happens(store, *LIFE)
    later = await read(store)
    await asyncio.gather(*(write_back(store, count) for count in (one, two, later)))
    assert (await read(store)).totals == Totals(accepted=2, delivered=2, retries=2)


async def test_a_long_feed_is_counted_in_portions_to_its_end(store: Database) -> None:
    for _ in range(2 * totals.MOST_ROWS + 3):
        await happens(store, LIFE[0])
    first = await read(store)
    assert (first.at_end, first.totals.accepted) == (False, totals.MOST_ROWS + 1)
    counter = TotalsCounter(store, ManualClock())
    await counter.count()
    assert counter.latest is not None
    assert counter.latest.totals.accepted == 2 * totals.MOST_ROWS + 3
    assert counter.latest.at_end


async def test_the_count_is_written_back_every_ten_seconds_and_not_while_nothing_happens(
    store: Database,
) -> None:
    clock = ManualClock()
    counter = TotalsCounter(store, clock)
    await happens(store, *LIFE)
    await counter.count()
    before = await read(store)
    assert before.stored != before.position
    clock.advance(totals.WRITE_BACK_SECONDS + 1)
    await counter.count()
    after = await read(store)
    assert after.stored == after.position == before.position


async def test_after_a_restore_into_another_cluster_counting_goes_on(store: Database) -> None:
    await happens(store, *LIFE)
    if store.dialect == "postgresql":  # whose transactions counted from higher numbers there
        await store.write("feed", lambda connection: connection.execute(text("UPDATE feed SET tx = 10 ^ 15")))
        count = await read(store)
        ended = replace(count, position=Position(10**15, 1, len(LIFE)), totals=Totals().plus(LIFE))
        await write_back(store, ended)
    await store.write("feed", change_feed.repair_after_restore)
    await happens(store, *LIFE)
    assert (await read(store)).totals == Totals(accepted=2, delivered=2, retries=2)


async def test_totals_survive_a_restart(settings: BridgeSettings) -> None:
    for number in (1, 2):
        async with bridge_of(settings) as bridge:
            await bridge.until_message((await bridge.post(chat_id=ADA))["message_ids"][0], "delivered")

            async def counted(bridge: Bridge = bridge, number: int = number) -> bool:
                told = await stats(bridge)
                return (told["accepted_total"], told["delivered_total"]) == (number, number)

            await until(counted)


async def test_counting_begins_before_the_first_event_is_taken(
    settings: BridgeSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_: TotalsCounter) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(TotalsCounter, "run", never)
        async with bridge_of(settings) as bridge:
            await bridge.until_message((await bridge.post(chat_id=ADA))["message_ids"][0], "delivered")
    async with bridge_of(settings) as bridge:

        async def counted() -> bool:
            return (await stats(bridge))["accepted_total"] == 1

        await until(counted)


async def stats(bridge: Bridge) -> dict[str, object]:
    """The numbers of one replica, without those that change while nothing happens."""
    found = (await bridge.client.get("/api/v1/stats")).json()
    return {name: value for name, value in found.items() if name not in ("counted_at", "rates")}


async def test_every_replica_gives_the_numbers_of_all(replicas: BridgeSettings) -> None:
    """Behind a gateway, one question is answered by one replica and the next by another."""
    async with bridge_of(replicas) as one, bridge_of(replicas) as two:
        posted = [
            (one, await one.post(chat_id=ADA)),
            (one, await one.post(chat_id=GRACE)),
            (two, await two.post(chat_id=ADA)),
            (two, await two.post(chat_id=GONE)),
        ]
        for bridge, answer in posted:
            await bridge.until_message_finished(answer["message_ids"][0])

        seen: list[dict[str, object]] = []

        async def agree() -> dict[str, object] | None:
            seen[:] = first, second = await stats(one), await stats(two)
            return first if first == second and first["delivery_rate_percent"] == 75.0 else None

        try:
            agreed = await until(agree)
        except AssertionError:
            raise AssertionError(f"the replicas count {seen}") from None
        assert (agreed["accepted_total"], agreed["delivered_total"], agreed["failed_total"]) == (4, 3, 1)
        assert agreed["dead_letters_total"] == 1
        for bridge in (one, two):
            assert await bridge.metric("cctelegram_delivery_rate_percent") == 75.0
            report = (await bridge.client.get("/health")).json()
            assert report["metrics"]["messages_processed_total"] == 4
