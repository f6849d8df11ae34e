"""The retention deletes old rows with all that belongs to them, and nothing that is still needed."""

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, update

from services.alert_relay.metrics import TABLES, RelayMetrics
from services.alert_relay.retention import BATCH, DAY_SECONDS, Retention
from services.alert_relay.schema import (
    audience,
    entry,
    episode,
    incident,
    last_sound,
    maintenance_window,
    notification,
    receiver,
    timer,
    webhook,
    weekly_digest,
)
from services.outbox.schema import attempt, change, event, message
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, watchdog
from tests.alert_relay.payloads import webhook as payload
from tests.servers import ManualClock

DAYS = 30.0
TABLES_OF = (
    webhook,
    receiver,
    incident,
    episode,
    entry,
    notification,
    timer,
    audience,
    maintenance_window,
    last_sound,
    weekly_digest,
    event,
    message,
    attempt,
    change,
)
LATER = START + 31 * DAY_SECONDS


def retention(relay_store: Store, now: float) -> tuple[Retention, CollectorRegistry]:
    clock, registry = ManualClock(now), CollectorRegistry()
    return Retention(relay_store.database, DAYS, RelayMetrics(registry, clock), clock), registry


async def resolved_incident(relay_store: Store, instance: str = "a", at: float = START) -> None:
    """Stores an incident that fired and resolved, with both notifications delivered."""
    await relay_store.receive(payload(alert(instance, starts_at=at)), at)
    await relay_store.receive(payload(alert(instance, starts_at=at, ends_at=at + 60)), at + 60)
    await relay_store.database.write("settle", _deliver_all)


def _deliver_all(connection: Connection) -> None:
    connection.execute(update(message).values(state="delivered", finished_at=START))


async def row_counts(relay_store: Store) -> dict[str, int]:
    counts = {table.name: len(await relay_store.rows(table)) for table in TABLES_OF}
    return {name: count for name, count in counts.items() if count}


async def test_an_old_resolved_incident_goes_with_everything_that_belongs_to_it(relay_store: Store) -> None:
    await resolved_incident(relay_store)
    before = await row_counts(relay_store)
    job, registry = retention(relay_store, LATER)
    await job.once()

    assert await row_counts(relay_store) == {}
    pruned = {
        table: registry.get_sample_value("cctelegram_pruned_rows_total", {"table": table}) for table in TABLES
    }
    assert {name: count for name, count in pruned.items() if count} == before
    assert registry.get_sample_value("cctelegram_retention_last_success_age_seconds") == 0


async def test_what_is_not_old_enough_stays(relay_store: Store) -> None:
    await resolved_incident(relay_store)
    before = await row_counts(relay_store)
    job, _ = retention(relay_store, START + 29 * DAY_SECONDS)
    await job.once()
    assert await row_counts(relay_store) == before


async def test_an_incident_that_still_fires_stays_with_all_that_was_told_however_old(
    relay_store: Store,
) -> None:
    await relay_store.receive(payload(alert("a")))
    await relay_store.database.write("settle", _deliver_all)
    job, _ = retention(relay_store, LATER)
    await job.once()
    assert (await row_counts(relay_store)).keys() == {
        "incident",
        "episode",
        "entry",
        "last_sound",
        "notification",
        "audience",
        "event",
        "message",
    }
    # And its end still finds it.
    await relay_store.receive(payload(alert("a", ends_at=LATER)), LATER)
    assert [each["state"] for each in await relay_store.incidents()] == ["resolved"]


async def test_what_was_told_of_two_incidents_goes_with_the_second(relay_store: Store) -> None:
    one, two = alert("a", name="One"), alert("b", name="Two")
    await relay_store.receive(payload(one, two))
    await relay_store.receive(payload(alert("a", name="One", ends_at=START + 60)), START + 60)
    await relay_store.database.write("settle", _deliver_all)
    job, _ = retention(relay_store, LATER)
    await job.once()
    assert [each["alertname"] for each in await relay_store.incidents()] == ["Two"]
    (notification_event,) = await relay_store.rows(event)
    assert "Two" in notification_event["body"]


async def test_what_is_still_on_its_way_is_never_deleted(relay_store: Store) -> None:
    await relay_store.receive(payload(alert("a")))
    await relay_store.receive(payload(alert("a", ends_at=START + 60)), START + 60)
    job, _ = retention(relay_store, LATER)
    await job.once()
    assert (await row_counts(relay_store)).keys() == {"event", "message"}


async def test_more_than_one_portion_goes_at_once(relay_store: Store) -> None:
    many = [alert(f"i{number}", name=f"N{number}") for number in range(BATCH + 5)]
    await relay_store.receive(payload(*many))
    ended = [each | {"status": "resolved", "endsAt": "2026-01-01T00:05:00Z"} for each in many]
    await relay_store.receive(payload(*ended), START + 300)
    await relay_store.database.write("settle", _deliver_all)
    job, _ = retention(relay_store, LATER)
    await job.once()
    assert await row_counts(relay_store) == {}


async def test_the_watchdog_s_webhooks_go_as_well(relay_store: Store) -> None:
    """One a minute, for ever, is what fills the inbox."""
    await relay_store.receive(watchdog())
    job, _ = retention(relay_store, LATER)
    await job.once()
    assert await row_counts(relay_store) == {}


async def test_an_alert_that_fires_again_after_its_past_is_gone_is_a_new_one(relay_store: Store) -> None:
    await resolved_incident(relay_store)
    job, _ = retention(relay_store, LATER)
    await job.once()
    await relay_store.receive(payload(alert("a", starts_at=LATER)), LATER)
    assert [each["state"] for each in await relay_store.incidents()] == ["firing"]


@pytest.mark.parametrize("name", TABLES)
def test_the_metric_names_tables_that_there_are(name: str) -> None:
    assert name in {table.name for table in TABLES_OF}
