"""Quiet hours: the wall clock of the chat's people, held by the engine on both databases."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.bridge.chats import api, quiet
from services.bridge.chats.quiet import QuietHours
from services.contracts.chats import DAYS
from services.kit.database.connect import Database
from services.kit.telemetry.telemetry import TraceContext
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.plan import ChatRules, Deferral
from services.outbox.intake import enqueue
from services.outbox.messages import (
    Claimed,
    EventRecord,
    Lane,
    MessageRecord,
    Outcome,
    Reason,
    Result,
    Settled,
    Submission,
)
from services.outbox.queries import message_timeline
from services.outbox.rate_limit.limits import Limits
from tests import servers
from tests.databases import on_sqlite
from tests.outbox.making import claimed
from tests.servers import ManualClock, Sandbox

BERLIN = ZoneInfo("Europe/Berlin")
EVERY_DAY = frozenset(range(7))
NIGHT = QuietHours(BERLIN, time(22), time(7), EVERY_DAY, delays=True)


def at(text: str, zone: ZoneInfo = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).timestamp()


def hours(start: str, end: str, *days: str, zone: ZoneInfo = BERLIN) -> QuietHours:
    chosen = frozenset(DAYS.index(day) for day in days) if days else EVERY_DAY
    return QuietHours(zone, time.fromisoformat(start), time.fromisoformat(end), chosen, delays=True)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-06-10T21:59:59", None),
        ("2026-06-10T22:00:00", "2026-06-11T07:00:00"),
        ("2026-06-10T23:59:59", "2026-06-11T07:00:00"),
        ("2026-06-11T00:00:00", "2026-06-11T07:00:00"),
        ("2026-06-11T06:59:59", "2026-06-11T07:00:00"),
        ("2026-06-11T07:00:00", None),
    ],
)
def test_a_night_ends_in_the_morning(now: str, until: str | None) -> None:
    assert NIGHT.until(at(now)) == (at(until) if until else None)


def test_the_clock_is_that_of_the_chats_people() -> None:
    moment = at("2026-06-10T23:00:00")
    assert replace(NIGHT, zone=ZoneInfo("America/New_York")).until(moment) is None
    assert replace(NIGHT, zone=ZoneInfo("Asia/Kathmandu")).until(moment) == at(
        "2026-06-11T07:00:00", ZoneInfo("Asia/Kathmandu")
    )


def test_hours_within_a_day() -> None:
    noon = hours("12:00", "13:30")
    assert noon.until(at("2026-06-10T12:30")) == at("2026-06-10T13:30")
    assert noon.until(at("2026-06-10T13:30")) is None


def test_days_are_those_on_which_a_night_begins() -> None:
    """Friday 12 June 2026: its night ends on Saturday."""
    weekend = hours("22:00", "09:00", "fri")
    assert weekend.until(at("2026-06-12T08:00")) is None
    assert weekend.until(at("2026-06-12T22:30")) == at("2026-06-13T09:00")
    assert weekend.until(at("2026-06-13T08:59")) == at("2026-06-13T09:00")
    assert weekend.until(at("2026-06-13T22:30")) is None


# Berlin: 2026-03-29 02:00 becomes 03:00; 2026-10-25 03:00 becomes 02:00.


def test_the_night_in_spring_is_an_hour_shorter_and_ends_at_seven() -> None:
    start, end = at("2026-03-28T22:00"), at("2026-03-29T07:00")
    assert end - start == 8 * 3600
    assert (NIGHT.until(start), NIGHT.until(end - 1), NIGHT.until(end)) == (end, end, None)


def test_the_night_in_autumn_is_an_hour_longer_and_ends_at_seven() -> None:
    start, end = at("2026-10-24T22:00"), at("2026-10-25T07:00")
    assert end - start == 10 * 3600
    assert (NIGHT.until(start), NIGHT.until(end - 1), NIGHT.until(end)) == (end, end, None)


def test_an_end_that_is_skipped_comes_an_hour_later() -> None:
    early = hours("22:00", "02:30")
    assert early.until(at("2026-03-29T01:59")) == at("2026-03-29T03:30")
    assert early.until(at("2026-03-29T03:29")) == at("2026-03-29T03:30")
    assert early.until(at("2026-03-29T03:30")) is None


def test_an_end_that_happens_twice_is_the_second_one() -> None:
    early = hours("22:00", "02:30")
    second = at("2026-10-25T02:30", fold=1)
    assert early.until(at("2026-10-25T02:40", fold=0)) == second
    assert early.until(second - 1) == second
    assert early.until(second) is None


def test_a_start_that_happens_twice_is_the_first_one() -> None:
    late = hours("02:30", "06:00")
    first, end = at("2026-10-25T02:30", fold=0), at("2026-10-25T06:00")
    assert late.until(first - 1) is None
    assert late.until(first) == end
    assert late.until(at("2026-10-25T02:10", fold=1)) == end


ZONES = [
    "Europe/Berlin",
    "America/St_Johns",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Africa/Casablanca",
    "UTC",
]


@given(
    st.sampled_from(ZONES),
    st.integers(0, 24 * 60 - 1),
    st.integers(0, 24 * 60 - 1),
    st.sets(st.integers(0, 6), min_size=1),
    st.floats(at("2020-01-01"), at("2035-01-01")),
)
def test_quiet_hours_always_end_soon_and_it_is_loud_then(
    zone: str, start: int, end: int, days: set[int], now: float
) -> None:
    if start == end:
        return
    clock = [time(minute // 60, minute % 60) for minute in (start, end)]
    quiet_hours = QuietHours(ZoneInfo(zone), clock[0], clock[1], frozenset(days), delays=True)
    until = quiet_hours.until(now)
    if until is not None:
        assert now < until <= now + 26 * 3600
        there = datetime.fromtimestamp(until, quiet_hours.zone)
        assert there.time() == clock[1] or there.utcoffset() != (there - timedelta(hours=3)).utcoffset()


# The engine's question


def settings(action: str = "delay", start: str = "22:00", end: str = "07:00") -> str:
    said: dict[str, Any] = {"from": start, "to": end, "days": DAYS, "action": action}
    return orjson.dumps({"name": "", "time_zone": "Europe/Berlin", "quiet_hours": said}).decode()


class Line:
    """An outbox whose chats have settings, moved by hand."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = database
        self.clock = clock

    async def put(self, chat_id: int, text: str) -> None:
        work = partial(api.store_settings, bot="default", chat_id=chat_id, settings=text, now=self.clock.now)
        await self.database.write("chat_write", work)

    async def submit(self, *submissions: Submission) -> None:
        store_them = partial(enqueue.insert, submissions=submissions, now=self.clock.now)
        await self.database.write("enqueue", store_them)

    async def batch(self) -> claims.ClaimedBatch:
        claim = partial(
            claims.claim,
            bot="default",
            owner="w1",
            limit=50,
            now=self.clock.now,
            rules=ChatRules(defers=quiet.deferral),
        )
        return await self.database.write("claim", claim)

    async def claim(self) -> list[Claimed]:
        return (await self.batch()).messages

    async def told(self, message_id: str) -> list[tuple[str, str]]:
        life = await self.database.read("read", partial(message_timeline.timeline, message_id=message_id))
        assert life is not None
        return [(change["state"], change["cause"]) for change in life.changes]


EVENING, MORNING = at("2026-06-10T23:00"), at("2026-06-11T07:00")


@pytest.fixture
def line(database: Database, clock: ManualClock) -> Line:
    clock.now = EVENING
    return Line(database, clock)


def titles(messages: Sequence[Claimed]) -> list[str]:
    return [message.title for message in messages]


def post(title: str, chat_id: int = 1001, *, event: Any = None, **changes: Any) -> Submission:

    made = EventRecord(
        id=f"e-{title}",
        type="custom_event",
        category="custom",
        title=title,
        source="tests",
        severity="low",
        body="{}",
        accepted_at=EVENING,
        trace=TraceContext(1, 2, sampled=True),
    )
    return Submission(
        (replace(made, **(event or {})),), ((replace(MessageRecord(f"m-{title}", chat_id), **changes),),)
    )


async def test_at_night_messages_wait_for_the_morning_and_say_so(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(post("held"), post("other chat", 1002))
    assert titles(await line.claim()) == ["other chat"]
    assert (await line.batch()).next_at == MORNING
    assert await line.told("m-held") == [("queued", "quiet hours until 2026-06-11T07:00+02:00")]
    line.clock.now = MORNING - 1
    assert await line.claim() == []
    line.clock.now = MORNING
    (held,) = await line.claim()
    assert (held.title, held.silent) == ("held", False)


async def test_they_come_in_order_and_before_those_of_the_morning(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(post("1"), post("2"))
    assert await line.claim() == []
    await line.submit(post("3"))
    assert await line.claim() == []
    line.clock.now = MORNING
    await line.submit(post("4"))
    seen = []
    for _ in range(4):
        (message,) = await line.claim()
        seen.append(message.title)
        await line.database.write("settle", partial(_delivered, message=message, now=line.clock.now))
    assert seen == ["1", "2", "3", "4"]
    for held in ("1", "2", "3"):
        assert len(await line.told(f"m-{held}")) == 1
    assert await line.told("m-4") == []


def _delivered(connection: Any, message: Claimed, now: float) -> None:

    result = Result(Outcome.SENT, Reason.NONE, now, now, message_id=message.seq)
    decision = retry_policy.decide(retry_policy.Policy(base=1.0), message, result, 1, 0.5)
    settlement.settle(connection, "w1", [Settled(message, result, decision)], Limits(0, 0, 1, 0), now)


async def test_what_is_urgent_or_critical_goes_as_ever(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(
        post("held"),
        post("urgent", lane=Lane.URGENT),
        post("critical", 1003, event={"severity": "critical"}),
    )
    await line.put(1003, settings())
    assert sorted(titles(await line.claim())) == ["critical", "urgent"]


async def test_silent_hours_send_without_a_sound(line: Line) -> None:
    await line.put(1001, settings("silent"))
    await line.submit(post("soft"))
    (soft,) = await line.claim()
    assert soft.silent
    assert await line.told("m-soft") == [
        ("queued", "quiet hours until 2026-06-11T07:00+02:00: without a sound")
    ]


async def test_a_scheduled_message_that_comes_due_at_night_waits_too(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(post("scheduled", deliver_at=EVENING + 600))
    assert (await line.batch()).next_at == EVENING + 600
    line.clock.now = EVENING + 600
    assert await line.claim() == []
    line.clock.now = MORNING
    assert titles(await line.claim()) == ["scheduled"]


async def test_a_message_that_expires_at_night_ends_as_expired(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(post("brief", expires_at=EVENING + 3600))
    assert await line.claim() == []
    line.clock.now = MORNING
    assert await line.claim() == []
    assert [state for state, _ in await line.told("m-brief")] == ["queued", "expired"]


async def test_other_settings_let_go_what_the_former_ones_held(line: Line) -> None:
    await line.put(1001, settings())
    await line.submit(post("held"), post("urgent later", deliver_at=MORNING + 60))
    assert await line.claim() == []
    await line.put(1001, settings(start="12:00", end="13:00"))
    assert titles(await line.claim()) == ["held"]


async def test_a_crowd_is_held_in_few_turns(line: Line) -> None:
    await line.put(1001, settings())
    number = 3 * claims.DEFER_BATCH
    await line.submit(*(post(f"n{n}") for n in range(number)))
    turns = 0
    while (await line.batch()).next_at != MORNING:
        turns += 1
    assert turns <= 4
    assert len(await line.told(f"m-n{number - 1}")) == 1


def test_what_a_chat_holds_is_asked_of_its_own_settings() -> None:

    assert quiet.deferral(claimed(), settings(), EVENING) == Deferral(
        MORNING, "quiet hours until 2026-06-11T07:00+02:00"
    )
    assert quiet.deferral(claimed(), settings(), MORNING) is None
    assert quiet.deferral(claimed(), '{"time_zone":"UTC","quiet_hours":null}', EVENING) is None


# Over REST


def around_now(**more: Any) -> dict[str, Any]:
    """Quiet hours that it is now, in UTC."""
    now = datetime.now(ZoneInfo("UTC"))
    begun, ends = now - timedelta(hours=1), now + timedelta(hours=2)
    return {"from": begun.strftime("%H:%M"), "to": ends.strftime("%H:%M")} | more


async def test_a_chat_is_told_as_it_was_set(bridge: httpx.AsyncClient) -> None:
    assert (await bridge.get("/api/v1/chats/1001")).status_code == 404
    wanted = {
        "name": "Ada",
        "time_zone": "Europe/Berlin",
        "quiet_hours": {"from": "22:00", "to": "07:00", "days": ["fri", "sat"], "action": "silent"},
    }
    put = await bridge.put("/api/v1/chats/1001", json=wanted)
    assert put.status_code == 200, put.text
    read = (await bridge.get("/api/v1/chats/1001")).json()
    assert read == put.json()
    assert {name: read[name] for name in wanted} == wanted
    assert (read["blocked"], read["muted_until"], read["migrated_to"]) == (None, None, None)
    reset = (await bridge.put("/api/v1/chats/1001", json={})).json()
    assert (reset["name"], reset["time_zone"], reset["quiet_hours"]) == ("", "UTC", None)


async def test_quiet_hours_hold_a_posted_message_until_they_are_lifted(
    bridge: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    put = await bridge.put("/api/v1/chats/1001", json={"quiet_hours": around_now()})
    until = put.json()["quiet_until"]
    assert until is not None
    posted = (await bridge.post("/events", json={"type": "custom_event", "title": "held"})).json()
    path = f"/api/v1/messages/{posted['message_ids'][0]}"

    async def held() -> bool:
        message = (await bridge.get(path)).json()
        return bool(message["status"] == "queued" and message["quiet_until"] == until)

    await servers.until(held)
    life = (await bridge.get(path)).json()
    assert any(change["cause"].startswith("quiet hours until") for change in life["events"])
    urgent = {"type": "custom_event", "title": "urgent", "priority": "urgent"}
    await bridge.post("/events", json=urgent)

    async def texts() -> list[str]:
        return await sandbox.texts(1001)

    assert ["urgent" in text for text in await servers.until(texts)] == [True]
    await bridge.put("/api/v1/chats/1001", json={})

    async def both() -> bool:
        return len(await sandbox.texts(1001)) == 2

    await servers.until(both)
    assert (await bridge.get(path)).json()["quiet_until"] is None


@on_sqlite
@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"time_zone": "Mars/Olympus"}, ["body", "time_zone"]),
        ({"time_zone": "Europe"}, ["body", "time_zone"]),
        ({"time_zone": "../UTC"}, ["body", "time_zone"]),
        ({"quiet_hours": {"from": "22", "to": "07:00"}}, ["body", "quiet_hours", "from"]),
        ({"quiet_hours": {"from": "24:00", "to": "07:00"}}, ["body", "quiet_hours", "from"]),
        ({"quiet_hours": {"from": "07:00", "to": "07:00"}}, ["body", "quiet_hours"]),
        ({"quiet_hours": around_now(days=[])}, ["body", "quiet_hours", "days"]),
        ({"quiet_hours": around_now(action="shout")}, ["body", "quiet_hours", "action"]),
        ({"nam": "Ada"}, ["body", "nam"]),
    ],
)
async def test_a_wrong_field_is_named(
    bridge: httpx.AsyncClient, body: dict[str, Any], place: list[str]
) -> None:
    response = await bridge.put("/api/v1/chats/1001", json=body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["loc"] == place
