"""Maintenance windows over incidents, on a real database."""

from functools import partial
from typing import Any

from services.alert_relay.incidents import matchers
from services.alert_relay.incidents.incident import Actor, ActorKind
from services.alert_relay.maintenance import ends
from services.alert_relay.maintenance import store as maintenance_store
from services.alert_relay.maintenance.ends import WindowEnd
from services.alert_relay.maintenance.window import MaintenanceWindow
from services.alert_relay.metrics import HeldBack
from services.alert_relay.notifications import notification
from services.alert_relay.notifications.notification import NotificationKind, Purpose
from services.outbox.messages import Origin
from services.outbox.schema import event
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

HOUR = 3_600.0
ADA = Actor(ActorKind.API, "Ada")


def window(*texts: str, starts_at: float = START, hours: float = 2, **changes: Any) -> MaintenanceWindow:
    return MaintenanceWindow(
        id=changes.pop("id", "w1"),
        name="deploy",
        matchers=matchers.parse_all(texts or ("service=bridge",)),
        cluster=changes.pop("cluster", ""),
        starts_at=starts_at,
        ends_at=starts_at + hours * HOUR,
        created_by=ADA,
        reason="",
        created_at=changes.pop("created_at", START),
        first_starts_at=starts_at,
        **changes,
    )


async def begin(store: Store, wanted: MaintenanceWindow, key: str | None = None) -> MaintenanceWindow:
    made = await store.database.write(
        "maintenance", partial(maintenance_store.create, wanted=wanted, key=key)
    )
    assert made is not None
    return made.window


async def end(
    store: Store, over: MaintenanceWindow, now: float, *, for_good: bool = False
) -> WindowEnd | None:
    work = partial(ends.end, over=over, target=store.target(), now=now, for_good=for_good)
    return await store.database.write("maintenance", work)


async def due(store: Store, now: float) -> list[MaintenanceWindow]:
    return await store.database.read("maintenance", partial(maintenance_store.due, now=now))


async def summaries(store: Store) -> list[str]:
    return [row["body"] for row in await store.rows(event) if row["origin"] == Origin.BOT.value]


async def news(store: Store) -> list[tuple[Purpose, list[NotificationKind]]]:
    """Returns what people got as new messages, without summaries."""
    rows = [row for row in await store.rows(event) if row["origin"] == Origin.ALERT.value]
    found = [notification.from_json(row["body"]) for row in rows]
    return [(each.purpose, each.kinds) for each in found if each.purpose is not Purpose.CHANGED]


async def test_an_alert_in_a_window_opens_an_incident_and_causes_no_message(relay_store: Store) -> None:
    await begin(relay_store, window())

    result = await relay_store.receive(webhook(alert()), START + 60)

    (incident,) = await relay_store.incidents()
    suppressing = partial(maintenance_store.suppressing, incident_ids=[incident["id"]], now=START + 60)
    covered = await relay_store.database.read("maintenance", suppressing)
    kinds = [each["kind"] for each in (await relay_store.incident(incident["id"]))["entries"]]
    assert (result.submissions, await news(relay_store)) == ((), [])
    assert result.held_back[HeldBack.MAINTENANCE] == 1
    assert (incident["state"], kinds) == ("firing", ["firing", "held_back"])
    assert [each.id for each in covered[incident["id"]]] == ["w1"]


async def test_what_still_fires_at_the_end_of_a_window_is_news_at_once(relay_store: Store) -> None:
    await begin(relay_store, window())
    await relay_store.receive(webhook(alert("a"), alert("b")), START + 60)
    await relay_store.receive(webhook(alert("a", ends_at=START + 90), alert("b")), START + 90)
    assert await due(relay_store, START + 2 * HOUR - 1) == []

    (over,) = await due(relay_store, START + 2 * HOUR)
    done = [await end(relay_store, over, START + 2 * HOUR) for _ in range(2)]

    assert [each is not None for each in done] == [True, False]
    assert await news(relay_store) == [(Purpose.OPENED, [NotificationKind.FIRING, NotificationKind.RESOLVED])]
    (summary,) = await summaries(relay_store)
    assert "1 incident, 1 still firing" in summary
    # A repeat of what people know now is none of the alert's news.
    await relay_store.receive(webhook(alert("b")), START + 2 * HOUR + 60)
    assert len(await news(relay_store)) == 1


async def test_the_end_of_an_alert_in_the_window_is_sent_only_if_people_know_of_it(
    relay_store: Store,
) -> None:
    await relay_store.receive(webhook(alert(name="Known")), START - 60)
    await begin(relay_store, window())
    await relay_store.receive(webhook(alert(name="Unknown")), START + 60)

    await relay_store.receive(webhook(alert(name="Known", ends_at=START + 90)), START + 90)
    await relay_store.receive(webhook(alert(name="Unknown", ends_at=START + 90)), START + 90)

    assert await news(relay_store) == [
        (Purpose.OPENED, [NotificationKind.FIRING]),
        (Purpose.NEWS, [NotificationKind.RESOLVED]),
    ]
    (over,) = await due(relay_store, START + 2 * HOUR)
    await end(relay_store, over, START + 2 * HOUR)
    (summary,) = await summaries(relay_store)
    assert "2 incidents, none still firing" in summary


async def test_the_end_of_an_incident_that_people_know_is_sent_though_its_last_alert_was_held_back(
    relay_store: Store,
) -> None:
    await relay_store.receive(webhook(alert("a")), START - 60)
    await begin(relay_store, window())
    await relay_store.receive(webhook(alert("a"), alert("b", starts_at=START + 9)), START + 9)
    await relay_store.receive(webhook(alert("a", ends_at=START + 20)), START + 20)
    await relay_store.receive(webhook(alert("b", starts_at=START + 9, ends_at=START + 30)), START + 30)

    assert await news(relay_store) == [
        (Purpose.OPENED, [NotificationKind.FIRING]),
        (Purpose.NEWS, [NotificationKind.RESOLVED]),
    ]


async def test_repeats_of_an_open_incident_stop_and_its_state_is_news_at_the_end(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()), START)
    await begin(relay_store, window(starts_at=START + HOUR, hours=20))

    await relay_store.receive(webhook(alert()), START + 13 * HOUR)

    assert len(await news(relay_store)) == 1
    (over,) = await due(relay_store, START + 21 * HOUR)
    await end(relay_store, over, START + 21 * HOUR)
    assert (await news(relay_store))[1:] == [(Purpose.NEWS, [NotificationKind.REPEATED])]


async def test_a_window_matches_by_labels_cluster_and_severity(relay_store: Store) -> None:
    await begin(relay_store, window("service=bridge", "instance=~a.*", spares_urgent=True))
    await begin(relay_store, window(id="w2", cluster="elsewhere"))

    await relay_store.receive(webhook(alert("a1", severity="warning")), START)
    assert await news(relay_store) == []
    await relay_store.receive(webhook(alert("b1", name="Other", severity="warning")), START)
    await relay_store.receive(webhook(alert("a1", name="Urgent")), START)

    assert len(await news(relay_store)) == 2


async def test_what_another_window_still_matches_stays_held_back(relay_store: Store) -> None:
    await begin(relay_store, window())
    await begin(relay_store, window(id="w2", hours=5))
    await relay_store.receive(webhook(alert()), START)

    (over,) = await due(relay_store, START + 2 * HOUR)
    await end(relay_store, over, START + 2 * HOUR)
    assert await news(relay_store) == []

    (over,) = await due(relay_store, START + 5 * HOUR)
    await end(relay_store, over, START + 5 * HOUR)
    assert await news(relay_store) == [(Purpose.OPENED, [NotificationKind.FIRING])]


async def test_a_recurring_window_goes_on_to_its_next_occurrence(relay_store: Store) -> None:
    made = await begin(relay_store, window(rule="FREQ=DAILY", zone="UTC"))

    done = await end(relay_store, made, START + 2 * HOUR)

    assert done is not None
    assert (done.window.starts_at, done.window.ended_at) == (START + 24 * HOUR, None)
    # Nothing happened in it.
    assert await summaries(relay_store) == []
    await relay_store.receive(webhook(alert()), START + 25 * HOUR)
    assert await news(relay_store) == []


async def test_many_incidents_of_a_window_have_one_message_together(relay_store: Store) -> None:
    made = await begin(relay_store, window())
    for number in range(12):
        await relay_store.receive(webhook(alert(name=f"Alert{number}", severity="warning")), START + number)

    work = partial(ends.end, over=made, target=relay_store.target(storm_incidents=10), now=START + 2 * HOUR)
    await relay_store.database.write("maintenance", work)

    assert [purpose for purpose, _ in await news(relay_store)] == [Purpose.STORM]


async def test_a_clock_that_is_put_back_does_not_lengthen_a_window_that_was_begun_at_once(
    relay_store: Store,
) -> None:
    await begin(relay_store, window(starts_at=START))
    await begin(relay_store, window(id="w2", starts_at=START + HOUR))
    now = START - 10 * HOUR

    await relay_store.database.write("maintenance", partial(maintenance_store.follow_clock, now=now))

    assert [each.id for each in await due(relay_store, now + 2 * HOUR)] == ["w1"]


async def test_the_same_request_makes_one_window(relay_store: Store) -> None:
    first = await begin(relay_store, window(), key="k")
    again = partial(
        maintenance_store.create,
        wanted=window(id="w2", starts_at=START + 1, created_at=START + 1),
        key="k",
    )
    made = await relay_store.database.write("maintenance", again)
    assert made is not None
    assert (made.window.id, made.same) == (first.id, True)
    other = partial(maintenance_store.create, wanted=window("a=b", id="w3"), key="k")
    made = await relay_store.database.write("maintenance", other)
    assert made is not None
    assert not made.same
