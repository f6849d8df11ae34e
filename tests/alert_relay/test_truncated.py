"""Truncated webhooks (``max_alerts``): the rest is fetched from a real Alertmanager, or counted as missed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from services.alert_relay import alertmanager_client, app, truncated_store
from services.alert_relay.alertmanager_client import AlertmanagerClient
from services.alert_relay.episodes import Alert, AlertGroup
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.settings import AlertRelaySettings
from services.alert_relay.store import NotificationTarget
from services.alert_relay.truncated_store import Completion, FetchedAlerts, TruncatedGroup
from services.alert_relay.truncated_worker import GIVE_UP_SECONDS, WARM_UP_SECONDS, TruncatedWorker
from services.kit.clock import SystemClock
from services.kit.runner import running
from tests.alert_relay import payloads, servers
from tests.alert_relay.conftest import Phone, Store
from tests.alert_relay.payloads import CLUSTER, START, alert, webhook
from tests.alert_relay.servers import fire, needs_alertmanager
from tests.ports import free_port
from tests.servers import KEY, ManualClock, until

CHATS = (1001,)
AUTHORIZED = {"Authorization": f"Bearer {KEY}"}
GROUP = (CLUSTER, webhook(alert())["groupKey"])


class AheadClock(SystemClock):
    """A clock that runs ahead, so that Alertmanager seems to have run for long."""

    def time(self) -> float:
        return super().time() + WARM_UP_SECONDS + 60


def truncated(*alerts: dict[str, Any], by: int = 2) -> dict[str, Any]:
    return webhook(*alerts, truncatedAlerts=by)


def domain_alert(instance: str, *, name: str = "HighErrorRate", severity: str = "critical") -> Alert:
    made = payloads.alert_group(webhook(alert(instance, name=name, severity=severity)))
    return made.alerts[0]


async def complete(
    relay_store: Store,
    group: AlertGroup,
    fetched: FetchedAlerts,
    *,
    asked_at: float,
    now: float | None = None,
) -> Completion | None:
    work = partial(
        truncated_store.complete,
        group=group,
        fetched=fetched,
        asked_at=asked_at,
        target=NotificationTarget(CHATS, relay_store.telemetry.new_trace()),
        now=asked_at if now is None else now,
    )
    return await relay_store.database.write("complete", work)


def fetched(*alerts: Alert, present: Sequence[Alert] = (), absence_counts: bool = True) -> FetchedAlerts:
    here = frozenset(each.fingerprint for each in (*alerts, *present))
    return FetchedAlerts(alerts, here, absence_counts=absence_counts)


async def truncated_groups(relay_store: Store, now: float = START) -> list[TruncatedGroup]:
    return await relay_store.database.read("truncated", partial(truncated_store.truncated_groups, now=now))


# Applying Alertmanager's answer


async def test_what_was_left_out_becomes_episodes_of_the_same_incident_and_is_told(
    relay_store: Store,
) -> None:
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    missing = [domain_alert("b"), domain_alert("c")]
    completed = await complete(
        relay_store, payloads.alert_group(payload), fetched(*missing), asked_at=START + 1
    )

    assert completed is not None
    assert completed.opened == 2
    (incident,) = await relay_store.incidents()
    assert incident["firing"] == 3
    first, second = await relay_store.notifications()
    assert (first.truncated, first.fetched) == (2, False)
    assert (second.truncated, second.fetched) == (0, True)
    assert {item.labels["instance"] for item in second.items} == {"b", "c"}
    kinds = [entry["kind"] for entry in (await relay_store.incident(incident["id"]))["entries"]]
    assert kinds == ["firing", "truncated", "firing", "firing", "fetched"]
    assert await truncated_groups(relay_store) == []


async def test_asked_again_only_what_is_new_is_told(relay_store: Store) -> None:
    """A group that changes every five minutes and is always cut must not repeat what was fetched."""
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await complete(relay_store, payloads.alert_group(payload), fetched(domain_alert("b")), asked_at=START + 1)
    again = truncated(alert("a"), alert("a2"))
    await relay_store.receive(again, START + 300)
    found = fetched(domain_alert("b"), domain_alert("c"), present=[domain_alert("a"), domain_alert("a2")])
    await complete(relay_store, payloads.alert_group(again), found, asked_at=START + 301)

    instances = [
        [item.labels["instance"] for item in notification.items]
        for notification in await relay_store.notifications()
    ]
    assert instances == [["a"], ["b"], ["a2"], ["c"]]


async def test_an_alert_whose_end_was_left_out_ends_when_alertmanager_has_it_no_more(
    relay_store: Store,
) -> None:
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await complete(relay_store, payloads.alert_group(payload), fetched(domain_alert("b")), asked_at=START + 1)
    over = truncated(alert("a", ends_at=START + 200), by=1)
    await relay_store.receive(over, START + 210)
    assert [each["state"] for each in await relay_store.incidents()] == ["firing"]
    await complete(relay_store, payloads.alert_group(over), fetched(), asked_at=START + 211)

    assert [each["state"] for each in await relay_store.incidents()] == ["resolved"]
    assert [notification.title for notification in await relay_store.notifications()][
        -1
    ] == "HighErrorRate resolved"


async def test_what_is_silenced_is_not_told_and_not_over(relay_store: Store) -> None:
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await complete(relay_store, payloads.alert_group(payload), fetched(domain_alert("b")), asked_at=START + 1)
    later = truncated(alert("a"), alert("c"))
    await relay_store.receive(later, START + 300)
    silenced = fetched(present=[domain_alert("a"), domain_alert("b"), domain_alert("c")])
    await complete(relay_store, payloads.alert_group(later), silenced, asked_at=START + 301)
    (incident,) = await relay_store.incidents()
    assert incident["firing"] == 3


async def test_an_alertmanager_that_has_just_started_ends_nothing_and_is_asked_again(
    relay_store: Store,
) -> None:
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await complete(relay_store, payloads.alert_group(payload), fetched(domain_alert("b")), asked_at=START + 1)
    again = truncated(alert("a"), alert("c"))
    await relay_store.receive(again, START + 300)
    await complete(
        relay_store, payloads.alert_group(again), fetched(absence_counts=False), asked_at=START + 301
    )
    (incident,) = await relay_store.incidents()
    assert incident["firing"] == 3
    assert len(await truncated_groups(relay_store)) == 1


async def test_an_answer_that_is_older_than_the_newest_webhook_is_not_believed(relay_store: Store) -> None:
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await relay_store.receive(truncated(alert("a"), alert("b")), START + 10)
    stale = await complete(
        relay_store, payloads.alert_group(payload), fetched(), asked_at=START + 5, now=START + 11
    )
    assert stale is None
    (incident,) = await relay_store.incidents()
    assert incident["firing"] == 2


async def test_other_groups_are_left_alone(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert("x", name="Other")))
    payload = truncated(alert("a"))
    await relay_store.receive(payload)
    await complete(relay_store, payloads.alert_group(payload), fetched(), asked_at=START + 1)
    states = {each["alertname"]: each["state"] for each in await relay_store.incidents()}
    assert states == {"Other": "firing", "HighErrorRate": "firing"}


async def test_the_newest_webhook_of_a_group_is_asked_for_and_a_repeated_one_again(
    relay_store: Store,
) -> None:
    first, second = truncated(alert("a")), truncated(alert("a"), alert("b"), by=7)
    await relay_store.receive(first)
    await relay_store.receive(second, START + 10)
    (found,) = await truncated_groups(relay_store)
    assert (found.truncated, found.last_received_at, found.clusters) == (7, START + 10, 1)
    await relay_store.database.write("truncated", lambda c: truncated_store.mark_done(c, GROUP, START + 11))
    assert await truncated_groups(relay_store) == []
    await relay_store.receive(first, START + 43_200)
    (found,) = await truncated_groups(relay_store)
    assert found.truncated == 2


# An Alertmanager that gives no answer


@dataclass
class Unreachable:
    """A worker whose Alertmanager does not exist."""

    worker: TruncatedWorker
    clock: ManualClock
    registry: CollectorRegistry

    def missed(self) -> float | None:
        return self.registry.get_sample_value("cctelegram_alerts_left_out_total", {"outcome": "missed"})


def unreachable(relay_store: Store, cluster: str = CLUSTER) -> Unreachable:
    clock, registry = ManualClock(START), CollectorRegistry()
    client = AlertmanagerClient(f"http://127.0.0.1:{free_port()}", relay_store.telemetry)
    metrics = RelayMetrics(registry, clock)
    relay = StoreCompletion(relay_store, metrics)
    worker = TruncatedWorker(relay, relay_store.database, client, cluster=cluster, clock=clock)
    return Unreachable(worker, clock, registry)


@dataclass
class StoreCompletion:
    """The part of the relay that the worker uses."""

    relay: Store
    metrics: RelayMetrics

    async def complete(self, group: AlertGroup, fetched: FetchedAlerts, asked_at: float) -> bool:
        return await complete(self.relay, group, fetched, asked_at=asked_at) is not None


async def test_an_alertmanager_that_does_not_answer_is_asked_until_it_is_too_late(
    relay_store: Store,
) -> None:
    await relay_store.receive(truncated(alert("a"), by=3))
    there = unreachable(relay_store)
    assert await there.worker.once() is True
    assert there.missed() == 0
    there.clock.now = START + GIVE_UP_SECONDS + 1
    assert await there.worker.once() is False
    assert there.missed() == 3
    assert await truncated_groups(relay_store) == []


async def test_how_many_are_missing_is_said_at_once_without_waiting_for_alertmanager(
    relay_store: Store,
) -> None:
    await relay_store.receive(truncated(alert("a"), by=3))
    (notification,) = await relay_store.notifications()
    assert notification.truncated == 3


async def test_an_alertmanager_is_not_asked_for_the_alerts_of_another_cluster(relay_store: Store) -> None:
    """It has none of them, so all of them would look resolved."""
    await relay_store.receive(webhook(alert("x"), externalURL="http://elsewhere:9093"))
    await relay_store.receive(truncated(alert("a"), by=3))
    there = unreachable(relay_store, cluster="http://elsewhere:9093")
    assert await there.worker.once() is False
    assert there.missed() == 3


async def test_an_alertmanager_that_posts_no_more_is_no_other_cluster(relay_store: Store) -> None:
    """An Alertmanager with a new address counts once."""
    await relay_store.receive(webhook(alert("x"), externalURL="http://before:9093"), START - 100_000)
    await relay_store.receive(truncated(alert("a"), by=3))
    (found,) = await truncated_groups(relay_store)
    assert found.clusters == 1


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


@needs_alertmanager
@pytest.mark.parametrize(
    "labels",
    [
        {"alertname": "HighErrorRate"},
        {"alertname": "HighErrorRate", "path": 'C:\\dir "x"\nline'},
        {},
    ],
)
async def test_alertmanager_understands_what_it_is_asked(
    relay_store: Store, tmp_path: Path, labels: dict[str, str]
) -> None:
    async with servers.alertmanager(tmp_path, free_port(), "http://127.0.0.1:9") as server:
        posted = {"labels": {"alertname": "HighErrorRate", **labels}, "annotations": {"summary": "x"}}
        (await server.post("/api/v2/alerts", json=[posted])).raise_for_status()
        client = AlertmanagerClient(str(server.base_url), relay_store.telemetry)

        async def grouped() -> bool:
            return bool((await client.groups(labels)).groups)

        await until(grouped)
        answer = await client.groups(labels)
        await client.close()
    (group,) = answer.groups
    assert group.receiver.name == "team-a.telegram+x"
    assert [dict(each.labels) for each in group.alerts] == [posted["labels"]]
    assert 0 <= SystemClock().time() - answer.started_at < 60


@pytest.mark.parametrize(
    ("name", "written"),
    [("job", 'job="a"'), ("with space", '"with space"="a"'), ('q"uote', '"q\\"uote"="a"')],
)
def test_names_that_are_no_plain_names_are_quoted(name: str, written: str) -> None:
    assert alertmanager_client.matcher(name, "a") == written
