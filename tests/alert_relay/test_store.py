"""One webhook is one transaction, on a real database, with Alertmanager's documented behaviour."""

import asyncio
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from services.alert_relay import schema
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.notifications.notification import NotificationKind, Purpose
from services.kit.database.connect import StoreUnavailableError
from services.outbox.schema import message
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

MINUTE = 60.0


async def test_a_firing_alert_opens_an_incident_and_is_told_to_everybody(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))

    (incident,) = await relay_store.incidents()
    sent = await relay_store.rows(message)
    assert (incident["state"], incident["alertname"], incident["severity"]) == (
        "firing",
        "HighErrorRate",
        "critical",
    )
    assert [(each["chat_id"], each["lane"], each["state"]) for each in sent] == [
        (1001, 0, "queued"),
        (-2002, 0, "queued"),
    ]


async def test_a_resolution_closes_the_episode_and_with_the_last_the_incident(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a"), alert("b")))
    await relay_store.receive(webhook(alert("a", ends_at=START + 60), alert("b")), START + 60)
    (halfway,) = await relay_store.incidents()
    received = await relay_store.receive(webhook(alert("b", ends_at=START + 90)), START + 95)

    (over,) = await relay_store.incidents()
    assert (halfway["state"], halfway["episodes"], halfway["firing"]) == ("firing", 2, 1)
    assert (over["state"], over["firing"], over["resolved_at"]) == ("resolved", 0, START + 95)
    assert [each.seconds for each in received.resolved] == [90.0]


async def test_a_delivery_that_is_retried_because_the_answer_was_lost_is_told_once(
    relay_store: Store,
) -> None:
    payload = webhook(alert())
    for seconds in (0, 0.3, 1.1, 1.9, 3.9, 7.0, 70, 150):
        await relay_store.receive(payload, START + seconds)

    (stored,) = await relay_store.rows(schema.webhook)
    assert len(await relay_store.notifications()) == 1
    assert (stored["deliveries"], stored["received_at"], stored["last_received_at"]) == (
        8,
        START,
        START + 150,
    )


async def test_a_resolution_that_is_retried_is_told_once(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    for seconds in (60, 61, 400):
        await relay_store.receive(webhook(alert(ends_at=START + 60)), START + seconds)

    assert [notification.items[0].kind for notification in await relay_store.notifications()] == [
        NotificationKind.FIRING,
        NotificationKind.RESOLVED,
    ]


async def test_alertmanagers_own_repeat_says_since_when_it_fires(relay_store: Store) -> None:
    for hours in (0, 12, 24):
        await relay_store.receive(webhook(alert()), START + hours * 60 * MINUTE)

    kinds = [
        (notification.items[0].kind, notification.items[0].since)
        for notification in await relay_store.notifications()
    ]
    assert kinds == [
        (NotificationKind.FIRING, START),
        (NotificationKind.REPEATED, START),
        (NotificationKind.REPEATED, START),
    ]


async def test_a_firing_after_an_end_that_was_never_sent_is_told_as_new(relay_store: Store) -> None:
    """A silence outlived the alert, or Alertmanager lost its state: no webhook had the resolution."""
    await relay_store.receive(webhook(alert()))
    await relay_store.receive(webhook(alert(starts_at=START + 600)), START + 630)

    (incident,) = await relay_store.incidents()
    found = await relay_store.incident(incident["id"])
    notified = [(each.items[0].kind, each.items[0].since) for each in await relay_store.notifications()]
    assert notified == [(NotificationKind.FIRING, START), (NotificationKind.FIRING, START + 600)]
    assert (incident["state"], incident["episodes"], incident["firing"]) == ("firing", 2, 1)
    assert sorted((each["starts_at"], each["ended_at"]) for each in found["members"]) == [
        (START, START + 600),
        (START + 600, None),
    ]
    assert [each["kind"] for each in found["entries"]] == ["firing", "superseded", "firing"]

    await relay_store.receive(webhook(alert(starts_at=START + 600, ends_at=START + 900)), START + 905)
    (over,) = await relay_store.incidents()
    assert (over["state"], over["firing"]) == ("resolved", 0)


async def test_an_incident_ends_where_its_alert_fires_anew_in_another_group(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    regrouped = webhook(alert(starts_at=START + 600), groupLabels={"service": "bridge"})
    await relay_store.receive(regrouped, START + 630)

    states = [(each["state"], each["group_labels"]) for each in await relay_store.incidents()]
    assert states == [
        ("resolved", {"alertname": "HighErrorRate", "severity": "critical"}),
        ("firing", {"service": "bridge"}),
    ]


async def test_an_alert_that_cannot_be_read_is_told_once_and_the_others_as_ever(relay_store: Store) -> None:
    mixed = webhook(alert("a")) | {"alerts": [alert("a"), alert("b") | {"startsAt": "yesterday"}]}
    for seconds in (0, 1):
        await relay_store.receive(mixed, START + seconds)
    await relay_store.receive(webhook(alert("a")) | {"alerts": [None]}, START + 2)

    first, beside, alone = await relay_store.notifications()
    assert [item.labels["instance"] for item in first.items] == ["a"]
    (fault,) = beside.unreadable
    assert fault.startswith("alerts[1].startsAt: write a time as text")
    assert (alone.items, alone.unreadable, alone.urgency) == (
        (),
        ("alerts[0]: write an object",),
        Urgency.LOUD,
    )
    assert len(await relay_store.rows(message)) == 6


async def test_a_start_that_moves_back_is_the_same_episode(relay_store: Store) -> None:
    """Recorded: a second source reported an earlier start, and another alert joined the group."""
    await relay_store.receive(payloads.recorded("first"))
    await relay_store.receive(payloads.recorded("joined_and_moved_back"), START + 5)

    (first, joined) = await relay_store.notifications()
    (incident,) = await relay_store.incidents()
    moved = (await relay_store.incident(incident["id"]))["members"][0]
    assert [item.labels["instance"] for item in joined.items] == ["b2"]
    assert joined.still_firing == 1
    assert moved["starts_at"] == first.items[0].since - 51


async def test_a_group_that_says_resolved_closes_nothing_but_what_it_lists(relay_store: Store) -> None:
    """Recorded: b1 was silenced and fires on; b2 resolved, and the group says ``resolved``."""
    await relay_store.receive(payloads.recorded("first"))
    await relay_store.receive(payloads.recorded("joined_and_moved_back"), START + 5)
    await relay_store.receive(payloads.recorded("resolved_while_another_is_silenced"), START + 9)

    (incident,) = await relay_store.incidents()
    assert (incident["state"], incident["firing"]) == ("firing", 1)
    # The message says so; the incident goes on, so nobody is disturbed.
    changed = (await relay_store.all_notifications())[-1]
    assert changed.purpose is Purpose.CHANGED
    assert [item.kind for item in changed.items] == [NotificationKind.FIRING, NotificationKind.RESOLVED]


async def test_an_alert_that_fires_again_after_its_resolution_is_told_again(relay_store: Store) -> None:
    """Recorded: b2 comes back three seconds after its end, with a later start."""
    for seconds, name in enumerate(
        ("first", "joined_and_moved_back", "resolved_while_another_is_silenced", "refired")
    ):
        await relay_store.receive(payloads.recorded(name), START + seconds)

    last = (await relay_store.notifications())[-1]
    assert [(item.kind, item.labels["instance"]) for item in last.items] == [(NotificationKind.FIRING, "b2")]


async def test_a_refire_soon_after_everything_was_resolved_reopens_the_incident(relay_store: Store) -> None:
    for start in (START, START + 90, START + 180):
        await relay_store.receive(webhook(alert(starts_at=start)), start)
        await relay_store.receive(webhook(alert(starts_at=start, ends_at=start + 60)), start + 60)

    (incident,) = await relay_store.incidents()
    entries = (await relay_store.incident(incident["id"]))["entries"]
    assert (incident["state"], incident["reopened"], incident["episodes"]) == ("resolved", 2, 3)
    # Opened, resolved, and twice reopened and resolved.
    assert incident["version"] == 6
    assert [each["detail"] for each in entries if each["kind"] == "reopened"] == [{"times": 1}, {"times": 2}]


async def test_an_alert_that_fires_and_resolves_ten_times_disturbs_people_a_few_times(
    relay_store: Store,
) -> None:
    for number in range(10):
        start = START + 20 * number
        await relay_store.receive(webhook(alert(starts_at=start)), start)
        await relay_store.receive(webhook(alert(starts_at=start, ends_at=start + 10)), start + 10)

    # The first message, its end, and two reopenings with their ends.
    assert len(await relay_store.notifications()) == 6
    last = (await relay_store.all_notifications())[-1]
    assert (last.purpose, last.incident and last.incident.reopened) == (Purpose.CHANGED, 9)


async def test_a_refire_long_after_everything_was_resolved_is_a_new_incident(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await relay_store.receive(webhook(alert(ends_at=START + 60)), START + 60)
    await relay_store.receive(webhook(alert(starts_at=START + 361)), START + 361)

    assert [each["state"] for each in await relay_store.incidents()] == ["resolved", "firing"]


async def test_an_alert_that_comes_back_with_its_old_start_is_not_swallowed(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await relay_store.receive(webhook(alert(ends_at=START + 60)), START + 60)
    await relay_store.receive(webhook(alert()), START + 61)

    assert [notification.items[0].kind for notification in await relay_store.notifications()][
        -1
    ] is NotificationKind.FIRING


async def test_alerts_that_alertmanager_cut_off_are_mentioned_and_kept_in_the_timeline(
    relay_store: Store,
) -> None:
    await relay_store.receive(payloads.recorded("truncated"))

    (notification,) = await relay_store.notifications()
    (incident,) = await relay_store.incidents()
    entries = (await relay_store.incident(incident["id"]))["entries"]
    assert (len(notification.items), notification.truncated) == (2, 3)
    assert [(e["kind"], e["detail"].get("alerts")) for e in entries][-1] == ("truncated", 3)


async def test_peers_of_a_cluster_are_one_also_where_their_urls_differ(relay_store: Store) -> None:
    """Two peers deliver the same notification, and both resolutions, at about the same time."""
    peers = ("http://alertmanager-0:9093", "http://alertmanager-1:9093/")
    for ends_at, now in ((None, START), (START + 60, START + 65)):
        payload = webhook(alert(ends_at=ends_at))
        await asyncio.gather(
            *(
                relay_store.receive(payload | {"externalURL": peer}, now + 15 * n)
                for n, peer in enumerate(peers)
            )
        )

    assert [notification.items[0].kind for notification in await relay_store.notifications()] == [
        NotificationKind.FIRING,
        NotificationKind.RESOLVED,
    ]


async def test_alertmanagers_that_know_nothing_of_each_other_are_kept_apart(relay_store: Store) -> None:
    for url in ("http://one:9093", "http://two:9093"):
        await relay_store.receive(webhook(alert(), externalURL=url))

    assert len(await relay_store.incidents()) == 2


async def test_twenty_deliveries_at_once_are_told_once(relay_store: Store) -> None:
    await asyncio.gather(*(relay_store.receive(webhook(alert())) for _ in range(20)))

    assert len(await relay_store.notifications()) == 1
    assert len(await relay_store.incidents()) == 1


async def test_a_changed_group_key_does_not_open_an_episode_again(relay_store: Store) -> None:
    """The key holds the path of the routes: it changes when somebody edits them."""
    await relay_store.receive(webhook(alert()))
    await relay_store.receive(webhook(alert(), groupKey='{}/{team="a"}:{}'), START + 5)

    assert len(await relay_store.notifications()) == 1


async def test_one_webhook_may_belong_to_several_incidents_with_a_message_each(relay_store: Store) -> None:
    everything = webhook(alert("a", name="One"), alert("b", name="Two")) | {"groupLabels": {}}
    await relay_store.receive(everything)

    one, two = await relay_store.incidents()
    sent = [(await relay_store.incident(each["id"]))["notifications"] for each in (one, two)]
    assert {one["alertname"], two["alertname"]} == {"One", "Two"}
    assert sent[0][0]["id"] != sent[1][0]["id"]
    assert len(await relay_store.notifications()) == 2


async def test_an_alert_that_joins_makes_its_incident_as_severe_as_it_is(relay_store: Store) -> None:
    group = {"groupLabels": {"alertname": "HighErrorRate"}}
    await relay_store.receive(webhook(alert("a", severity="warning")) | group)
    await relay_store.receive(webhook(alert("a", severity="warning"), alert("b")) | group, START + 5)
    await relay_store.receive(webhook(alert("c", severity="info")) | group, START + 9)

    (incident,) = await relay_store.incidents()
    assert (incident["severity"], incident["updated_at"]) == ("critical", START + 9)


async def test_an_alert_that_fired_and_resolved_unheard_is_a_whole_incident(relay_store: Store) -> None:
    received = await relay_store.receive(webhook(alert(ends_at=START + 40)), START + 45)

    (incident,) = await relay_store.incidents()
    entries = (await relay_store.incident(incident["id"]))["entries"]
    assert incident["state"] == "resolved"
    assert [each.seconds for each in received.resolved] == [40.0]
    assert [each["kind"] for each in entries] == ["firing", "resolved", "closed"]


async def test_the_watchdog_is_told_to_nobody(relay_store: Store) -> None:
    received = await relay_store.receive(payloads.watchdog())

    (heartbeat,) = await relay_store.rows(schema.heartbeat)
    assert received.watchdog
    assert (heartbeat["cluster"], heartbeat["received_at"]) == (payloads.CLUSTER, START)
    assert (await relay_store.notifications(), await relay_store.incidents()) == ([], [])


async def test_a_year_of_watchdogs_is_one_row(relay_store: Store) -> None:
    for minute in range(5):
        await relay_store.receive(payloads.watchdog(), START + minute * MINUTE)

    (stored,) = await relay_store.rows(schema.webhook)
    (heartbeat,) = await relay_store.rows(schema.heartbeat)
    assert (stored["deliveries"], heartbeat["received_at"]) == (5, START + 4 * MINUTE)


async def test_a_watchdog_that_resolves_is_no_sign_of_life(relay_store: Store) -> None:
    over = alert("p", name="Watchdog", severity="none", ends_at=START)

    assert not (await relay_store.receive(webhook(over), START + 1)).watchdog


async def test_a_webhook_without_alerts_is_kept_and_says_nothing(relay_store: Store) -> None:
    await relay_store.receive(webhook())

    assert len(await relay_store.rows(schema.webhook)) == 1
    assert await relay_store.notifications() == []


async def test_a_fingerprint_that_is_listed_twice_counts_once(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert(), alert()))

    assert len((await relay_store.notifications())[0].items) == 1


async def test_a_storm_of_thousands_is_stored(relay_store: Store) -> None:
    storm = [alert(str(number)) for number in range(2_500)]
    await relay_store.receive(webhook(*storm))
    await relay_store.receive(webhook(*storm), START + 1)

    (incident,) = await relay_store.incidents()
    assert (incident["episodes"], incident["firing"]) == (2_500, 2_500)


async def test_a_webhook_is_stored_as_a_whole_or_not_at_all(relay_store: Store) -> None:
    """If the outbox cannot store the message, the webhook is not stored either."""

    def rename_table(connection: Connection) -> None:
        connection.execute(text("ALTER TABLE chat RENAME TO gone"))

    await relay_store.database.write("break", rename_table)
    with pytest.raises((StoreUnavailableError, DBAPIError)):
        await relay_store.receive(webhook(alert()))

    assert await relay_store.rows(schema.webhook) == []
    assert await relay_store.rows(schema.episode) == []
    assert await relay_store.rows(schema.receiver) == []


async def test_odd_characters_are_stored_and_told(relay_store: Store) -> None:
    odd = alert("\u202e🔥'; DROP TABLE episode; --\x00")
    await relay_store.receive(webhook(odd))

    (notification,) = await relay_store.notifications()
    assert (
        notification.items[0].labels["instance"]
        == "\u202e🔥'; DROP TABLE episode; --\N{REPLACEMENT CHARACTER}"
    )


async def test_migrations_and_tables_agree(relay_store: Store) -> None:
    def differences(connection: Connection) -> list[Any]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "include_name": lambda name, kind, _: kind != "table" or name in schema.metadata.tables,
            },
        )
        return list(compare_metadata(context, schema.metadata))

    assert await relay_store.database.read("compare", differences) == []
