"""An external URL is joined to a cluster, with everything that is stored under it."""

import asyncio
from functools import partial

from services.alert_relay import schema
from services.alert_relay.clusters import membership, store
from services.alert_relay.clusters.cluster import StoredCluster
from services.alert_relay.clusters.configuration import ClusterConfiguration
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook

#: The cluster of the settings of the fixture `relay_store`, and one of its external URLs.
CLUSTER, PEER = "alertmanager", "http://alertmanager-0:9093"
UNKNOWN = "http://elsewhere:9093"


async def join(
    relay_store: Store, url: str = UNKNOWN, target: str = CLUSTER, now: float = START + 100
) -> None:
    await relay_store.database.write("join", partial(membership.join, url=url, target=target, now=now))


async def clusters(relay_store: Store) -> dict[str, StoredCluster]:
    return {each.name: each for each in await relay_store.database.read("clusters", store.stored)}


async def test_peers_of_the_settings_are_one_cluster_and_an_unknown_one_is_named_by_its_url(
    relay_store: Store,
) -> None:
    await relay_store.receive(webhook(alert("a"), externalURL=PEER))
    await relay_store.receive(webhook(alert("a"), externalURL="http://alertmanager-1:9093"), START + 15)
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN), START + 16)

    shown = [(each["cluster"], each["episodes"]) for each in await relay_store.incidents()]
    assert shown == [(CLUSTER, 1), (UNKNOWN, 1)]
    assert [each.cluster for each in await relay_store.notifications()] == [CLUSTER, UNKNOWN]


async def test_what_is_open_moves_and_its_end_closes_it(relay_store: Store) -> None:
    """Alertmanager is back under another external URL and sends the end."""
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    await join(relay_store)
    await relay_store.receive(webhook(alert("a", ends_at=START + 200), externalURL=PEER), START + 205)

    (incident,) = await relay_store.incidents()
    assert (incident["cluster"], incident["state"], incident["episodes"]) == (CLUSTER, "resolved", 1)
    assert list(await clusters(relay_store)) == [CLUSTER]
    assert len(await relay_store.notifications()) == 2


async def test_webhooks_of_a_joined_url_are_of_its_cluster(relay_store: Store) -> None:
    await join(relay_store)
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    await relay_store.receive(payloads.watchdog() | {"externalURL": UNKNOWN}, START + 50)

    (incident,) = await relay_store.incidents()
    found = (await clusters(relay_store))[CLUSTER]
    assert incident["cluster"] == CLUSTER
    assert UNKNOWN in found.external_urls
    assert (found.received_at, found.watchdog_at, len(found.heartbeats)) == (START + 50, START + 50, 1)


async def test_two_incidents_of_the_same_alerts_become_one(relay_store: Store) -> None:
    """A pair whose URLs are not in the settings: both deliver after the relay was away."""
    for url in (PEER, UNKNOWN):
        await relay_store.receive(webhook(alert("a"), alert(f"of {url}"), externalURL=url))
    await join(relay_store)

    kept, closed = await relay_store.incidents()
    assert (kept["state"], kept["firing"]) == ("firing", 3)
    assert (closed["state"], closed["firing"], closed["resolved_at"]) == ("resolved", 0, START + 100)
    entries = (await relay_store.incident(closed["id"]))["entries"]
    assert [(each["kind"], each["detail"]) for each in entries][-2:] == [
        ("joined", {"incident_id": kept["id"]}),
        ("closed", {}),
    ]
    ends = [alert(one, ends_at=START + 200) for one in ("a", f"of {PEER}", f"of {UNKNOWN}")]
    await relay_store.receive(webhook(*ends, externalURL=PEER), START + 205)
    assert [each["state"] for each in await relay_store.incidents()] == ["resolved", "resolved"]
    ended = [(each["ended_by"], each["newest"]) for each in await relay_store.rows(schema.episode)]
    assert sorted(ended) == [("joined", False), ("resolved", True), ("resolved", True), ("resolved", True)]


async def test_an_open_episode_is_newer_than_a_closed_one(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    await relay_store.receive(webhook(alert("a"), externalURL=PEER), START + 1)
    await relay_store.receive(webhook(alert("a", ends_at=START + 50), externalURL=PEER), START + 55)
    await join(relay_store)
    await relay_store.receive(webhook(alert("a", ends_at=START + 200), externalURL=PEER), START + 205)

    assert [each["state"] for each in await relay_store.incidents()] == ["resolved", "resolved"]


async def test_a_repeated_join_changes_nothing(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    for _ in range(2):
        await join(relay_store)

    (incident,) = await relay_store.incidents()
    assert (incident["state"], incident["firing"]) == ("firing", 1)


async def test_a_webhook_that_comes_while_its_cluster_is_joined_is_stored_once(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    posts = [
        relay_store.receive(webhook(alert(f"b{number}"), externalURL=UNKNOWN), START + 1)
        for number in range(5)
    ]
    await asyncio.gather(*posts[:2], join(relay_store), *posts[2:])

    (incident,) = await relay_store.incidents()
    assert (incident["cluster"], incident["firing"]) == (CLUSTER, 6)


async def test_a_setting_that_names_another_cluster_wins(relay_store: Store) -> None:
    await join(relay_store)
    await relay_store.receive(webhook(alert("a"), externalURL=UNKNOWN))
    named = ClusterConfiguration("lab", (), (UNKNOWN,))
    await relay_store.database.write("configure", partial(membership.configure, clusters=[named], now=START))
    await relay_store.receive(webhook(alert("b"), externalURL=UNKNOWN), START + 1)

    assert [each["cluster"] for each in await relay_store.incidents()] == [CLUSTER, "lab"]
