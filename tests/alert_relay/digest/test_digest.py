"""The weekly digest: its figures on a real database, its time, and that it is sent once."""

from datetime import UTC, datetime
from functools import partial
from zoneinfo import ZoneInfo

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.alert_relay import commands, digest_time
from services.alert_relay.digest import figures, weekly
from services.alert_relay.digest_time import DigestTime
from services.alert_relay.incidents.incident import Acknowledge, Actor, ActorKind
from services.outbox.messages import Origin
from services.outbox.schema import event
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

WEEK = 7 * 86_400.0
#: START is a Thursday, midnight.
THURSDAY = DigestTime(3, 9, 0, "UTC")


async def some_incidents(store: Store) -> None:
    await store.receive(webhook(alert("a")), START + 100)
    await store.receive(webhook(alert("b", name="Slow", severity="warning")), START + 200)
    (first, _) = await store.incidents()
    acknowledge = partial(
        commands.perform,
        incident_id=first["id"],
        wanted=Acknowledge(),
        actor=Actor(ActorKind.API, "Ada"),
        version=None,
        target=store.target(),
        now=START + 160,
    )
    await store.database.write("command", acknowledge)
    await store.receive(webhook(alert("a", ends_at=START + 1_300)), START + 1_300)
    await store.receive(
        webhook(alert("b", name="Slow", severity="warning", ends_at=START + 800)), START + 800
    )


async def test_a_period_is_measured(relay_store: Store) -> None:
    await some_incidents(relay_store)

    found = await relay_store.database.read(
        "digest", partial(figures.measure, begin=START, until=START + WEEK)
    )

    assert found.by_severity == {"critical": 1, "warning": 1}
    assert [found.acknowledged_after, found.resolved_after, found.never_acknowledged] == [60, 900, 1]
    assert found.longest == ("HighErrorRate", 1_200.0)
    assert {name for name, _ in found.noisiest} == {"HighErrorRate", "Slow"}
    # No message was sent here.
    assert [found.delay_median, found.dead_letters] == [None, 0]


async def test_the_text_compares_with_the_week_before_and_says_when_there_was_none(
    relay_store: Store,
) -> None:
    await some_incidents(relay_store)
    read = partial(relay_store.database.read, "digest")

    text = (await read(partial(weekly.text_of, begin=START, until=START + WEEK))).text
    assert "2 incidents (the week before: 0): 1 critical, 1 warning" in text
    assert "Acknowledged after (mean): 1 min (none)" in text
    assert "Longest: HighErrorRate, 20 min" in text

    later = (await read(partial(weekly.text_of, begin=START + WEEK, until=START + 2 * WEEK))).text
    assert "No alert. The week before: 2." in later


async def send(store: Store, now: float) -> int:
    target = store.target()
    work = partial(weekly.send, when=THURSDAY, chat_ids=[1001], trace=target.trace, now=now)
    return len(await store.database.write("digest", work))


async def test_it_is_sent_once_a_week_from_the_first_whole_week_on(relay_store: Store) -> None:
    nine = START + 9 * 3_600
    sent = [
        await send(relay_store, now)
        for now in (nine - 60, nine - 30, nine, nine + 1, nine - 3_600, nine + WEEK - 1, nine + 3 * WEEK)
    ]

    # The first call notes the week that is over; after three weeks away the last one is sent.
    assert sent == [0, 0, 1, 0, 0, 0, 1]
    assert [row["origin"] for row in await relay_store.rows(event)] == [Origin.BOT.value] * 2


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "UTC"]),
    st.integers(0, 6),
    st.integers(0, 23),
    st.floats(START, START + 800 * 86_400),
)
def test_the_last_week_is_over_and_begins_and_ends_at_the_time_of_the_wall_clock(
    zone: str, weekday: int, hour: int, now: float
) -> None:
    begin, until = DigestTime(weekday, hour, 30, zone).last(now)

    assert until <= now < until + WEEK + 7_200
    assert abs(until - begin - WEEK) <= 3_600
    local = datetime.fromtimestamp(until, ZoneInfo(zone))
    # 02:30 may not exist on the day of the change.
    assert local.weekday() == weekday
    assert local.hour in (hour, hour + 1)
    assert digest_time.parse("Mon 09:00 Europe/Berlin") == DigestTime(0, 9, 0, "Europe/Berlin")


def test_a_monday_in_berlin() -> None:
    now = datetime(2026, 3, 30, 8, 0, tzinfo=UTC).timestamp()
    begin, until = DigestTime(0, 9, 0, "Europe/Berlin").last(now)
    assert datetime.fromtimestamp(until, UTC) == datetime(2026, 3, 30, 7, 0, tzinfo=UTC)
    assert datetime.fromtimestamp(begin, UTC) == datetime(2026, 3, 23, 8, 0, tzinfo=UTC)


@pytest.mark.parametrize("text", ["monday 9", "mon 25:00", "xyz 09:00", "mon 09:00 Mars/Base"])
def test_a_wrong_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write"):
        digest_time.parse(text)
    assert digest_time.parse(" ") is None


async def test_the_api_shows_it_at_any_time(relay: httpx.AsyncClient) -> None:
    assert (await relay.post("/webhook/alert", json=webhook(alert()))).status_code == 200
    shown = (await relay.get("/api/v1/digest")).json()
    assert "1 incident (the week before: 0): 1 critical" in shown["text"]
    wrong = await relay.get("/api/v1/digest", params={"from": "2030-01-02T00:00:00Z"})
    assert (wrong.status_code, wrong.json()["errors"][0]["loc"]) == (422, ["query", "from"])
