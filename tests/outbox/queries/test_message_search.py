"""Search: what is found, in pages, and by which index, so that a million messages cost no more than ten."""

from functools import partial
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.database.connect import Database
from services.outbox.intake import enqueue
from services.outbox.queries import message_search
from services.outbox.queries.message_search import Page, Search
from tests.outbox.conftest import Desk
from tests.outbox.making import ADA, GRACE, NOW, each, event, message, sent, submission
from tests.outbox.plans import plan_of


async def find(database: Database, **wanted: Any) -> Page:
    return await database.read("search", partial(message_search.search, criteria=Search(**wanted)))


def titles(page: Page) -> list[str]:
    return [row["title"] for row in page.rows]


async def test_pages_are_newest_first_and_hold_every_message_once(desk: Desk) -> None:
    await desk.submit(each([f"t{n}" for n in range(7)]))
    seen: list[str] = []
    cursor: int | None = None
    while True:
        page = await find(desk.database, limit=3, before=cursor)
        seen += titles(page)
        cursor = page.cursor
        if cursor is None:
            break
    assert seen == [f"t{n}" for n in reversed(range(7))]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"type": "task_failed"}, ["failed"]),
        ({"type": "nonsense"}, []),
        ({"chat_id": GRACE}, ["failed"]),
        ({"correlation_id": "run-1"}, ["failed"]),
        ({"correlation_id": "run-1", "states": ["queued"]}, ["failed"]),
        ({"correlation_id": "run-1", "states": ["delivered"]}, []),
        ({"states": ["queued", "sending"]}, ["plain", "failed"]),
        ({"text": "FAIL"}, ["failed"]),
        ({"text": "%"}, []),
        ({"text": "fail", "chat_id": ADA}, []),
        ({"since": NOW + 1}, []),
        ({"since": NOW}, ["plain", "failed"]),
        ({"until": NOW}, []),
        ({"until": NOW + 1, "since": NOW - 1}, ["plain", "failed"]),
    ],
)
async def test_a_message_is_found_by(desk: Desk, wanted: dict[str, Any], found: list[str]) -> None:
    await desk.submit(
        submission(message(GRACE), of=event("failed", type="task_failed", correlation_id="run-1")),
        submission(message(ADA), of=event("plain")),
    )
    assert titles(await find(desk.database, **wanted)) == found


async def test_a_message_that_was_overtaken_on_its_way_to_the_disk_is_found_by_its_time(desk: Desk) -> None:
    """Accepted before the others, committed after them."""
    await desk.submit(each(["first"]), each(["second"]))
    late = submission(of=event("late", accepted_at=NOW - 10))
    await desk.submit(late)
    assert titles(await find(desk.database, until=NOW - 5)) == ["late"]
    assert titles(await find(desk.database, since=NOW - 5)) == ["second", "first"]


async def test_a_page_looks_at_so_many_titles_and_the_cursor_goes_on(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_search, "MOST_TITLES", 6)
    await desk.submit(each(["needle", *(f"straw {n}" for n in range(9))]))
    first = await find(desk.database, text="needle")
    assert titles(first) == []
    assert first.cursor == 5
    second = await find(desk.database, text="needle", before=first.cursor)
    assert (titles(second), second.cursor) == (["needle"], None)


async def test_a_full_page_by_title_goes_on_where_it_ended(desk: Desk) -> None:
    await desk.submit(each([f"needle {n}" if n % 3 else "straw" for n in range(9)]))
    page = await find(desk.database, text="needle", limit=4)
    assert titles(page) == ["needle 8", "needle 7", "needle 5", "needle 4"]
    rest = await find(desk.database, text="needle", limit=4, before=page.cursor)
    assert titles(rest) == ["needle 2", "needle 1"]


@pytest.mark.parametrize(
    "part",
    ["100 %", "a_b", "c\\d", "it's", '"said"', "École", "éCOLE", "ОШИБКА", "ошибка", "🚀", "/", "ﬁ"],
)
async def test_odd_characters_mean_themselves(desk: Desk, part: str) -> None:
    written = '100 % a_b c\\d it\'s "said" École Ошибка 🚀 / ﬁ'
    await desk.submit(each([written, "100 of aXb cd its said cole Ошика"]))
    assert titles(await find(desk.database, text=part)) == [written]


async def test_pages_of_several_states_hold_each_message_once_while_new_ones_come(desk: Desk) -> None:
    await desk.submit(each([f"t{n}" for n in range(9)]))
    for one in (await desk.claim(limit=4))[::2]:
        await desk.finish(one, sent())
    wanted = ["delivered", "queued", "sending", "queued"]
    seen: list[str] = []
    cursor: int | None = None
    while True:
        page = await find(desk.database, states=wanted, limit=2, before=cursor)
        seen += titles(page)
        cursor = page.cursor
        await desk.submit(each(["new"]))
        if cursor is None:
            break
    assert seen == [f"t{n}" for n in reversed(range(9))]


PLANS = [
    ({"states": ["dead_letter"]}, ["message_state"]),
    ({"states": ["dead_letter", "delivered"]}, ["message_state"]),
    ({"states": ["queued", "sending", "retry_wait"], "type": "task_failed"}, []),
    ({"text": "needle"}, []),
    ({"text": "needle", "states": ["dead_letter", "unknown"]}, ["message_state"]),
    ({"text": "needle", "chat_id": ADA, "before": 5}, ["message_chat"]),
    ({"type": "task_failed"}, ["message_type"]),
    ({"chat_id": ADA}, ["message_chat"]),
    ({"bot": "alerts"}, ["message_bot"]),
    ({"bot": "alerts", "before": 5}, ["message_bot"]),
    ({"correlation_id": "run-1"}, ["event_correlation", "message_event"]),
    ({"correlation_id": "run-1", "states": ["queued"]}, ["event_correlation", "message_event"]),
    ({"since": NOW + 50.0, "until": NOW + 51.0}, ["message_accepted"]),
]


@pytest.mark.parametrize(("wanted", "indexes"), PLANS)
async def test_a_filter_walks_its_index_and_reads_no_whole_table(
    desk: Desk, wanted: dict[str, Any], indexes: list[str]
) -> None:
    many = [
        submission(message(chat), of=event(f"t{chat}", accepted_at=NOW + chat, correlation_id=f"run-{chat}"))
        for chat in range(200)
    ]
    await desk.database.write("enqueue", partial(enqueue.insert, submissions=many, now=NOW))
    if desk.database.dialect == "postgresql":
        await desk.database.write("enqueue", lambda connection: connection.execute(text("ANALYZE")))
    asks = partial(message_search.search, criteria=Search(**wanted))
    # In a transaction: its settings end with it.
    plan = await desk.database.write("search", partial(plan_of, work=asks))
    assert all(index in plan for index in indexes), plan
    assert "Seq Scan" not in plan
    assert "SCAN message" not in plan
    assert "SCAN event" not in plan


async def test_messages_are_found_by_their_bot(desk: Desk) -> None:
    await desk.submit(
        submission(message(ADA, bot="alerts"), of=event("by alerts")),
        submission(message(ADA), of=event("by the default one")),
        submission(message(GRACE, bot="alerts"), of=event("by alerts too")),
    )
    assert titles(await find(desk.database, bot="alerts")) == ["by alerts too", "by alerts"]
    assert titles(await find(desk.database, bot="alerts", chat_id=ADA)) == ["by alerts"]
    assert titles(await find(desk.database, bot="default")) == ["by the default one"]
    assert titles(await find(desk.database, bot="nobody")) == []
