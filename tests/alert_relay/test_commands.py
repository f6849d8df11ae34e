"""People's commands on incidents, on a real database."""

from functools import partial

from services.alert_relay import commands
from services.alert_relay.commands import Performed
from services.alert_relay.incidents.incident import (
    Acknowledge,
    Actor,
    ActorKind,
    AddNote,
    Command,
    IncidentState,
    Refusal,
    Resolve,
    Unacknowledge,
)
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

ADA = Actor(ActorKind.TELEGRAM, "Ada", 1001)
BOB = Actor(ActorKind.API, "Bob")


async def perform(
    store: Store, wanted: Command, version: int, *, actor: Actor = ADA, now: float = START + 10
) -> Performed:
    return await store.perform(wanted, now, actor=actor, version=version)


async def timeline(store: Store) -> list[str]:
    (incident,) = await store.incidents()
    return [each["kind"] for each in (await store.incident(incident["id"]))["entries"]]


async def test_every_entry_of_the_timeline_says_who_or_what_did_it(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    await perform(relay_store, Acknowledge(), 1)
    await perform(relay_store, AddNote("restarting"), 2, actor=BOB)
    await relay_store.receive(webhook(alert(ends_at=START + 60)), START + 60)

    (incident,) = await relay_store.incidents()
    entries = (await relay_store.incident(incident["id"]))["entries"]
    cluster = '{"kind": "alertmanager", "name": "http://alertmanager:9093", "user_id": null}'
    assert [(each["kind"], each["actor"]) for each in entries] == [
        ("firing", cluster),
        ("acknowledged", '{"kind": "telegram", "name": "Ada", "user_id": 1001}'),
        ("note", '{"kind": "api", "name": "Bob", "user_id": null}'),
        ("resolved", cluster),
        ("closed", cluster),
    ]
    assert entries[2]["detail"] == {"text": "restarting", "version": 2}


async def test_a_repeated_command_is_done_once(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    for _ in range(3):
        assert (await perform(relay_store, Acknowledge(), 1)).refusal is None
    for _ in range(3):
        assert (await perform(relay_store, AddNote("a note"), 2)).refusal is None

    assert await timeline(relay_store) == ["firing", "acknowledged", "note"]


async def test_a_command_on_a_version_that_has_passed_changes_nothing(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a")))
    await relay_store.receive(webhook(alert("b"), alert("a")), START + 5)

    refused = await perform(relay_store, Resolve(), 1)

    assert (refused.refusal, refused.changed) == (Refusal.MOVED_ON, False)
    assert await timeline(relay_store) == ["firing", "firing"]


async def test_an_acknowledged_incident_is_not_repeated_until_the_acknowledgement_is_taken_back(
    relay_store: Store,
) -> None:
    firing = webhook(alert())
    await relay_store.receive(firing)
    await perform(relay_store, Acknowledge(), 1)
    await relay_store.receive(firing, START + 12 * 3_600)
    while_acknowledged = len(await relay_store.notifications())
    await perform(relay_store, Unacknowledge(), 2)
    await relay_store.receive(firing, START + 24 * 3_600)

    assert (while_acknowledged, len(await relay_store.notifications())) == (1, 2)


async def test_a_new_alert_of_an_acknowledged_incident_is_notified(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a")))
    await perform(relay_store, Acknowledge(), 1)
    await relay_store.receive(webhook(alert("a"), alert("b")), START + 20)

    (_, second) = await relay_store.notifications()
    assert [each.labels["instance"] for each in second.items] == ["b"]


async def test_the_first_acknowledgement_is_counted_once(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert()))
    first = await perform(relay_store, Acknowledge(), 1)
    back = await perform(relay_store, Unacknowledge(), 2)
    again = await perform(relay_store, Acknowledge(), 3, actor=BOB)

    assert [each.first_acknowledgement for each in (first, back, again)] == [True, False, False]


async def test_an_incident_that_a_person_resolved_stays_so_while_alertmanager_sends_its_webhook_again(
    relay_store: Store,
) -> None:
    firing = webhook(alert())
    await relay_store.receive(firing)
    performed = await perform(relay_store, Resolve(), 1, now=START + 100)
    await relay_store.receive(firing, START + 110)

    (incident,) = await relay_store.incidents()
    (episode,) = (await relay_store.incident(incident["id"]))["members"]
    assert (incident["state"], incident["resolved_at"]) == ("resolved", START + 100)
    assert (episode["ended_by"], episode["ended_at"]) == ("by_hand", START + 100)
    assert performed.resolved is not None
    assert (performed.resolved.seconds, performed.resolved.alerts) == (100.0, 1)


async def test_an_alert_that_goes_on_firing_opens_an_incident_again_when_it_is_repeated(
    relay_store: Store,
) -> None:
    firing = webhook(alert())
    await relay_store.receive(firing)
    await perform(relay_store, Resolve(), 1, now=START + 100)
    await relay_store.receive(firing, START + 4 * 3_600)
    await relay_store.receive(firing, START + 12 * 3_600)

    states = [each["state"] for each in await relay_store.incidents()]
    assert states == [IncidentState.RESOLVED, IncidentState.FIRING]


async def test_a_command_on_an_unknown_incident_finds_none(relay_store: Store) -> None:
    work = partial(
        commands.perform,
        incident_id="none",
        wanted=Acknowledge(),
        actor=ADA,
        version=1,
        target=relay_store.target(),
        now=START,
    )
    assert await relay_store.database.write("command", work) is None
