"""What is read from Alertmanager's API is stored and notified; test_snapshot.py has the rules."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.alert_relay import app, snapshot_store
from services.alert_relay.alertmanager import parse
from services.alert_relay.alertmanager.client import AlertmanagerClient
from services.alert_relay.alertmanager.config import RepeatIntervals
from services.alert_relay.alertmanager.snapshot import (
    ABSENT_SECONDS,
    Correction,
    Group,
    ListedAlert,
    Snapshot,
)
from services.alert_relay.channels.target import Target
from services.alert_relay.clusters.configuration import ClusterConfiguration
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.notifications.notification import NotificationKind, Purpose, Source
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.reconciler import GIVE_UP_SECONDS, WARM_UP_SECONDS, Reconciler
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.snapshot_store import Cluster
from services.contracts.alertmanager import Webhook
from services.kit.clock import SystemClock
from services.kit.runner import running
from tests.alert_relay import payloads, servers
from tests.alert_relay.conftest import Phone, Store
from tests.alert_relay.payloads import START, alert, webhook
from tests.alert_relay.servers import fire, needs_alertmanager
from tests.ports import free_port
from tests.servers import KEY, ManualClock, until

AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
#: The cluster of the settings of the fixture `relay_store`.
CLUSTER = Cluster("alertmanager", ("http://alertmanager:9093",), "http://alertmanager-0:9093")
URL = CLUSTER.external_url
GROUP = Group.of("alert-relay", {"alertname": "HighErrorRate", "severity": "critical"})


class AheadClock(SystemClock):
    """A clock that runs ahead, so that Alertmanager seems to have run for long."""

    def time(self) -> float:
        return super().time() + WARM_UP_SECONDS + 60


def posted(*alerts: dict[str, Any], by: int = 0) -> dict[str, Any]:
    """Returns a webhook of the cluster; ``by``: the number of alerts that it leaves out."""
    return webhook(*alerts, truncatedAlerts=by, externalURL=URL)


def listed(*alerts: dict[str, Any], suppressed: bool = False, group: Group = GROUP) -> dict[str, ListedAlert]:
    found = parse.alert_group(Webhook.model_validate(webhook(*alerts)), "", START).alerts
    return {each.fingerprint: ListedAlert(each, suppressed, frozenset({group})) for each in found}


async def correct(
    relay_store: Store,
    alerts: Mapping[str, ListedAlert],
    at: float,
    missed_since: Mapping[str, float] | None = None,
) -> Correction:
    work = partial(
        snapshot_store.apply,
        cluster=CLUSTER,
        found=Snapshot(at, alerts, absence_counts=True),
        missed_since=missed_since or {},
        target=NotificationTarget((Target.telegram(1001),), relay_store.telemetry.new_trace()),
        now=at,
    )
    return (await relay_store.database.write("correct", work)).correction


async def told(relay_store: Store) -> list[tuple[str, list[str], Source]]:
    """The notifications: title, instances, and where the relay has the alerts from."""
    return [
        (each.title, [item.labels["instance"] for item in each.items], each.source)
        for each in await relay_store.notifications()
    ]


FIRING, RESOLVED = "HighErrorRate firing", "HighErrorRate resolved"


# What a snapshot corrects is stored and notified


async def test_alerts_that_were_left_out_join_the_incident_and_are_notified_once(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a"), by=2))
    everything = listed(alert("a"), alert("b"), alert("c"))
    for seconds in (1, 31):
        await correct(relay_store, everything, START + seconds)

    (incident,) = await relay_store.incidents()
    kinds = [each["kind"] for each in (await relay_store.incident(incident["id"]))["entries"]]
    assert (incident["firing"], incident["cluster"]) == (3, "alertmanager")
    assert kinds == ["firing", "truncated", "firing", "firing", "fetched"]
    assert await told(relay_store) == [
        (FIRING, ["a"], Source.WEBHOOK),
        (FIRING, ["b", "c"], Source.LEFT_OUT),
    ]


async def test_an_alert_that_is_absent_resolves_with_its_labels(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a"), alert("b")))
    for seconds in (30, 60, 30 + ABSENT_SECONDS):
        await correct(relay_store, listed(alert("b")), START + seconds)

    (incident,) = await relay_store.incidents()
    found = await relay_store.incident(incident["id"])
    ends = {each["labels"]["instance"]: (each["ended_by"], each["ended_at"]) for each in found["members"]}
    assert incident["firing"] == 1
    assert ends == {"a": ("absent", START + 30), "b": (None, None)}
    assert [each["kind"] for each in found["entries"]] == ["firing", "firing", "absent"]
    # The incident goes on: its message changes, and nobody is disturbed.
    changed = (await relay_store.all_notifications())[-1]
    assert (changed.purpose, changed.source) == (Purpose.CHANGED, Source.API)
    assert [(each.kind, each.labels["instance"]) for each in changed.items] == [
        (NotificationKind.FIRING, "b"),
        (NotificationKind.RESOLVED, "a"),
    ]


async def test_an_alert_that_resolves_while_it_is_silenced_resolves_and_fires_anew(
    relay_store: Store,
) -> None:
    await relay_store.receive(posted(alert("a")))
    await correct(relay_store, listed(alert("a"), suppressed=True), START + 30)
    for seconds in (60, 90):
        await correct(relay_store, {}, START + seconds)
    assert [each["state"] for each in await relay_store.incidents()] == ["resolved"]
    await relay_store.receive(posted(alert("a", starts_at=START + 300)), START + 310)

    assert [each[0] for each in await told(relay_store)] == [FIRING, RESOLVED, FIRING]


async def test_an_end_that_alertmanager_sends_after_all_is_no_news(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a")))
    for seconds in (30, 30 + ABSENT_SECONDS):
        await correct(relay_store, {}, START + seconds)
    await relay_store.receive(posted(alert("a", ends_at=START + 20)), START + 700)

    assert [each[0] for each in await told(relay_store)] == [FIRING, RESOLVED]


async def test_an_alert_that_flaps_is_notified_once_and_its_episodes_are_stored(relay_store: Store) -> None:
    """Alertmanager sends nothing if an alert is back within the group_interval."""
    await relay_store.receive(posted(alert("a")))
    for number in range(1, 6):
        await correct(relay_store, listed(alert("a", starts_at=START + 60 * number)), START + 60 * number + 5)

    (incident,) = await relay_store.incidents()
    assert (incident["episodes"], incident["firing"]) == (6, 1)
    assert await told(relay_store) == [(FIRING, ["a"], Source.WEBHOOK)]


async def test_an_alert_that_fired_while_it_was_silenced_is_notified_when_the_silence_ends(
    relay_store: Store,
) -> None:
    await relay_store.receive(posted(alert("a")))
    await correct(relay_store, listed(alert("a"), suppressed=True), START + 30)
    await correct(relay_store, {}, START + 60)
    again = alert("a", starts_at=START + 60 + ABSENT_SECONDS)
    await correct(relay_store, listed(again, suppressed=True), START + 70 + ABSENT_SECONDS)
    assert [each[0] for each in await told(relay_store)] == [FIRING]
    await correct(relay_store, listed(again), START + 900)

    assert [each[0] for each in await told(relay_store)] == [FIRING, FIRING]


async def test_an_alert_that_no_webhook_reported_is_notified_after_a_while(relay_store: Store) -> None:
    """The relay's database was restored: Alertmanager's log has the alert as notified."""
    await relay_store.receive(posted(alert("a")))
    both = listed(alert("a"), alert("b"))
    waiting = (await correct(relay_store, both, START + 30)).waiting
    await correct(relay_store, both, START + 700, dict.fromkeys(waiting, START + 30))

    assert (await told(relay_store))[1:] == [(FIRING, ["b"], Source.API)]


async def test_the_api_of_another_alertmanager_ends_nothing(relay_store: Store) -> None:
    """The settings name a wrong URL: all alerts look resolved there."""
    await relay_store.receive(posted(alert("a")))
    for seconds in (30, 700, 9_999):
        await correct(relay_store, listed(alert("foreign")), START + seconds)

    (incident,) = await relay_store.incidents()
    assert incident["firing"] == 1


async def test_alerts_of_other_clusters_are_left_alone(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a")))
    await relay_store.receive(webhook(alert("a")))
    for seconds in (20, 30, 30 + ABSENT_SECONDS):
        await correct(relay_store, listed(alert("a")) if seconds == 20 else {}, START + seconds)

    states = {each["cluster"]: each["state"] for each in await relay_store.incidents()}
    assert states == {"alertmanager": "resolved", payloads.CLUSTER: "firing"}


async def test_two_replicas_that_read_the_same_cluster_notify_once(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a"), by=1))
    both = listed(alert("a"), alert("b"))
    await asyncio.gather(*(correct(relay_store, both, START + 1) for _ in range(4)))

    assert len(await told(relay_store)) == 2


# An Alertmanager that gives no answer


@dataclass
class StoreCorrection:
    """The part of the relay that the reconciler uses."""

    relay: Store
    metrics: RelayMetrics
    repeats: dict[str, RepeatIntervals] = field(default_factory=dict)

    async def correct(
        self, cluster: Cluster, snapshot: Snapshot, missed_since: Mapping[str, float]
    ) -> Correction:
        raise AssertionError("nothing was read")


async def test_a_truncated_webhook_waits_for_alertmanager_until_it_is_too_late(relay_store: Store) -> None:
    await relay_store.receive(posted(alert("a"), by=3))
    clock, registry = ManualClock(START), CollectorRegistry()
    relay = StoreCorrection(relay_store, RelayMetrics(registry, clock))
    address = f"http://127.0.0.1:{free_port()}"
    client = AlertmanagerClient(address, relay_store.telemetry)
    cluster = ClusterConfiguration("alertmanager", (address,), (address,))
    reconciler = Reconciler(cluster, relay, relay_store.database, [client], read_seconds=30, clock=clock)

    def missed() -> float | None:
        return registry.get_sample_value("cctelegram_alerts_left_out_total", {"outcome": "missed"})

    assert (await reconciler.once(), missed()) == (True, 0)
    clock.now = START + GIVE_UP_SECONDS + 1
    assert (await reconciler.once(), missed()) == (False, 3)
    assert (await reconciler.once(), missed()) == (False, 3)
    await client.close()


async def test_how_many_are_missing_is_said_at_once_without_waiting_for_alertmanager(
    relay_store: Store,
) -> None:
    await relay_store.receive(posted(alert("a"), by=3))
    (notification,) = await relay_store.notifications()
    assert notification.truncated == 3


# A real Alertmanager


@needs_alertmanager
async def test_the_rest_of_a_cut_group_is_fetched_told_and_ended(
    relay_settings: AlertRelaySettings, tmp_path: Path, phone: Phone
) -> None:
    port = free_port()
    settings = relay_settings.model_copy(
        update={
            "database_url": SecretStr(""),
            "alertmanager_url": f"http://127.0.0.1:{port}",
            "alertmanager_read_seconds": 1.0,
            "telegram_chat_per_second": 0.0,
        }
    )
    instances = [f"i{number}" for number in range(6)]
    async with (
        running(partial(app.create_app, clock=AheadClock()), settings) as service,
        httpx.AsyncClient(base_url=service.url, headers=AUTHORIZED, timeout=10) as relay,
        servers.alertmanager(tmp_path, port, service.url, max_alerts=2) as alertmanager,
    ):
        await fire(alertmanager, *instances)
        await until(partial(_incident_is, relay, "firing", firing=6))
        shown = "\n".join(each["message"]["text"] for each in await phone.messages(2))
        assert all(f"Errors on {instance}" in shown for instance in instances)
        assert "Alertmanager had not listed this" in shown

        await fire(alertmanager, *instances, resolved=True)
        await until(partial(_incident_is, relay, "resolved", firing=0))
        metrics = (await relay.get("/metrics")).text
        assert 'cctelegram_alerts_left_out_total{outcome="missed"} 0.0' in metrics
        # Four, but for one that the first webhook may have listed by itself.
        fetched = re.search(r'cctelegram_alerts_left_out_total{outcome="fetched"} (\d)', metrics)
        assert fetched is not None
        assert int(fetched[1]) in (3, 4)
        counted = [line for line in metrics.splitlines() if line.startswith("external_api_calls_total{")]
        assert any('provider="alertmanager"' in line and 'status_code="200"' in line for line in counted)


async def _incident_is(relay: httpx.AsyncClient, state: str, *, firing: int) -> bool:
    found = (await relay.get("/api/v1/incidents")).json()["incidents"]
    return [(each["state"], each["firing"]) for each in found] == [(state, firing)]
