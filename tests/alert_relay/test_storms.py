"""Many incidents that open at once have one message together; on a real database."""

from functools import partial
from typing import Any

from services.alert_relay import commands, store
from services.alert_relay.alertmanager import parse
from services.alert_relay.channels.target import Target
from services.alert_relay.clusters import configuration
from services.alert_relay.incidents.incident import Acknowledge, Actor, ActorKind
from services.alert_relay.notifications import render
from services.alert_relay.notifications.notification import Notification, Purpose
from services.alert_relay.notifications.store import NotificationTarget
from services.contracts.alertmanager import Webhook
from services.outbox.schema import message
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

MOST = 3


def target(relay_store: Store) -> NotificationTarget:
    return NotificationTarget(
        (Target.telegram(1001),), relay_store.telemetry.new_trace(), storm_incidents=MOST
    )


async def fire(relay_store: Store, name: str, now: float, **changes: Any) -> None:
    given: dict[str, Any] = {"severity": "warning", "starts_at": now}
    payload = webhook(alert(name=name, **(given | changes)))
    received = Webhook.model_validate(payload)
    group = parse.alert_group(received, configuration.normal(received.externalURL), now)
    work = partial(store.receive, group=group, body=name, target=target(relay_store), now=now)
    await relay_store.database.write("receive", work)


async def storm(relay_store: Store, number: int) -> None:
    for each in range(number):
        await fire(relay_store, f"Alert{each}", START + each)


async def purposes(relay_store: Store) -> list[str]:
    return [each.purpose.value for each in await relay_store.all_notifications()]


async def last(relay_store: Store) -> Notification:
    return (await relay_store.all_notifications())[-1]


async def test_the_first_incidents_have_a_message_each_and_the_others_one_together(
    relay_store: Store,
) -> None:
    await storm(relay_store, 6)

    assert await purposes(relay_store) == ["opened"] * MOST + ["storm"] * 3
    text = render.text_of(await last(relay_store)).text
    assert text.startswith(
        "🌩 Many incidents at once: 3 more open · http://alertmanager:9093\n🔥 Alert3 (warning)\n"
    )
    messages = await relay_store.rows(message)
    keys = {each["update_key"] for each in messages[MOST:]}
    assert len(keys) == 1


async def test_an_urgent_incident_has_a_message_of_its_own_also_in_a_storm(relay_store: Store) -> None:
    await storm(relay_store, 6)
    await fire(relay_store, "Fatal", START + 7, severity="critical")

    assert ((await last(relay_store)).purpose, (await last(relay_store)).title) == (
        Purpose.OPENED,
        "Fatal firing",
    )


async def test_what_becomes_of_a_storm_changes_its_message(relay_store: Store) -> None:
    await storm(relay_store, 6)
    await fire(relay_store, "Alert5", START + 30, starts_at=START + 5, ends_at=START + 30)
    incidents = {each["alertname"]: each["id"] for each in await relay_store.incidents()}
    ada = Actor(ActorKind.API, "Ada")
    work = partial(
        commands.perform,
        incident_id=incidents["Alert4"],
        wanted=Acknowledge(),
        actor=ada,
        version=None,
        target=target(relay_store),
        now=START + 40,
    )
    await relay_store.database.write("command", work)

    text = render.text_of(await last(relay_store)).text
    assert text.splitlines()[:4] == [
        "🌩 Many incidents at once: 2 more open, 1 resolved · http://alertmanager:9093",
        "🔥 Alert3 (warning)",
        "👤 Alert4 (warning)",
        "✅ Alert5 (warning)",
    ]


async def test_an_incident_of_a_storm_that_alertmanager_repeats_has_a_message_of_its_own(
    relay_store: Store,
) -> None:
    await storm(relay_store, 6)
    await fire(relay_store, "Alert5", START + 12 * 3_600, starts_at=START + 5)

    opened = await last(relay_store)
    assert (opened.purpose, opened.title) == (Purpose.OPENED, "Alert5 firing")


async def test_an_incident_long_after_a_storm_has_a_message_of_its_own(relay_store: Store) -> None:
    await storm(relay_store, 6)
    await fire(relay_store, "Later", START + 120)

    assert (await last(relay_store)).purpose is Purpose.OPENED


async def test_the_timeline_of_an_incident_has_the_message_of_its_storm(relay_store: Store) -> None:
    await storm(relay_store, 6)
    incidents = {each["alertname"]: each["id"] for each in await relay_store.incidents()}

    (sent,) = (await relay_store.incident(incidents["Alert4"]))["notifications"]

    assert sent["kinds"] == ["storm"]
    assert len(sent["messages"]) == 1
