"""The dead man's switch, and the gauges that are measured from the database."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from services.alert_relay import heartbeats, store
from services.alert_relay.channels.target import Target
from services.alert_relay.clusters import membership
from services.alert_relay.incidents.episodes import AlertGroup
from services.alert_relay.incidents.severity import Urgency
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.notifications.store import NotificationTarget
from services.alert_relay.watchdog import AlertReporter, Watchdog, run_watchdog
from services.kit.errors import Problem
from services.kit.health import Level
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook


@dataclass
class SettableClock:
    now: float = START

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _watchdog(
    relay_store: Store,
    clock: SettableClock,
    *,
    configured: str = "",
    max_age: float = 300,
    reporter: AlertReporter | None = None,
) -> tuple[Watchdog, CollectorRegistry]:
    registry = CollectorRegistry()
    metrics = RelayMetrics(registry, clock)
    watchdog = Watchdog(
        relay_store.database,
        metrics,
        reporter or StoreReporter(relay_store, clock),
        configured={configured},
        max_age=max_age,
        clock=clock,
    )
    return watchdog, registry


@dataclass
class StoreReporter:
    """Stores a report as the relay does, without a delivery."""

    relay: Store
    clock: SettableClock

    async def report(self, group: AlertGroup) -> None:
        target = NotificationTarget((Target.telegram(1001),), self.relay.telemetry.new_trace())
        work = partial(store.report, group=group, target=target, now=self.clock.now)
        await self.relay.database.write("report", work)


async def _titles(relay_store: Store) -> list[str]:
    return [notification.title for notification in await relay_store.notifications()]


async def test_people_are_told_once_when_the_sign_of_life_stays_away_and_once_when_it_is_back(
    relay_store: Store,
) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    for clock.now in (START + 10, START + 300, START + 301, START + 400, START + 500):
        await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]
    (notification,) = await relay_store.notifications()
    assert notification.urgency is Urgency.LOUD
    assert "came last at 2026-01-01T00:00:00" in notification.items[0].annotations["description"]

    await relay_store.receive(payloads.watchdog(), START + 600)
    for clock.now in (START + 601, START + 700):
        await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing", "WatchdogSilent resolved"]
    assert [row["state"] for row in await relay_store.incidents()] == ["resolved"]


async def test_a_silence_that_was_told_is_not_told_again_after_a_restart(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    clock.now = START + 301
    await watchdog.check()

    restarted, _ = _watchdog(relay_store, clock)
    for clock.now in (START + 302, START + 1_000):
        await restarted.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


async def test_a_relay_that_was_away_itself_listens_before_it_speaks(relay_store: Store) -> None:
    await relay_store.receive(payloads.watchdog(), START)
    clock = SettableClock(START + 4_000)
    watchdog, _ = _watchdog(relay_store, clock)
    for clock.now in (START + 4_000, START + 4_300):
        await watchdog.check()
    assert await _titles(relay_store) == []
    clock.now = START + 4_301
    await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


async def test_nobody_is_told_that_all_is_well_where_nothing_was_wrong(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await watchdog.check()
    await relay_store.receive(payloads.watchdog(), START)
    for clock.now in (START + 5, START + 250):
        await watchdog.check()
    assert await _titles(relay_store) == []


async def test_before_the_first_sign_of_life_there_is_no_age_and_no_level(relay_store: Store) -> None:
    watchdog, registry = _watchdog(relay_store, SettableClock())
    await watchdog.check()

    assert (await watchdog.check_health()).level is Level.UNKNOWN
    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") is None


async def test_a_sign_of_life_is_healthy_until_it_stays_away_too_long(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, registry = _watchdog(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    await watchdog.check()

    levels = []
    for clock.now in (START + 60, START + 300, START + 301):
        levels.append((await watchdog.check_health()).level)
    assert levels == [Level.HEALTHY, Level.HEALTHY, Level.UNHEALTHY]
    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") == 301


async def test_a_sign_of_life_is_remembered_across_a_restart(relay_store: Store) -> None:
    """The time of the last Watchdog alert is in the database."""
    await relay_store.receive(payloads.watchdog(), START)

    restarted, registry = _watchdog(relay_store, SettableClock(START + 4_000))
    await restarted.check()

    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") == 4_000
    assert (await restarted.check_health()).level is Level.UNHEALTHY


async def test_a_watchdog_that_never_came_is_reported_and_its_first_coming_too(relay_store: Store) -> None:
    """The time counts from when the relay knew the cluster, not from its last restart."""
    clock = SettableClock(START + 400)
    watchdog, _ = _watchdog(relay_store, clock, configured="alertmanager")
    for clock.now in (START + 400, START + 500):
        await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]
    (notification,) = await relay_store.notifications()
    description = notification.items[0].annotations["description"]
    assert description.startswith("The Watchdog alert has never come since 2026-01-01T00:00:00")

    first = payloads.watchdog() | {"externalURL": "http://alertmanager-0:9093"}
    await relay_store.receive(first, START + 510)
    clock.now = START + 515
    await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing", "WatchdogSilent resolved"]


async def test_without_a_chat_the_report_waits_and_the_service_starts(relay_store: Store) -> None:
    """A suite without a chat starts, and waits for the first one."""
    clock = SettableClock(START + 9_999)
    watchdog, registry = _watchdog(relay_store, clock, configured="alertmanager", reporter=NoChat())
    async with run_watchdog(watchdog):
        await watchdog.check()
    assert registry.get_sample_value("cctelegram_incidents", {"state": "firing"}) == 0
    with_chat, _ = _watchdog(relay_store, clock, configured="alertmanager")
    await with_chat.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


class NoChat:
    async def report(self, group: AlertGroup) -> None:
        raise Problem(503, "No chat yet", "No chat is set.")


async def test_a_cluster_that_no_setting_names_may_have_no_watchdog(relay_store: Store) -> None:
    await relay_store.receive(webhook(alert(), externalURL="http://elsewhere:9093"))
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    for clock.now in (START, START + 9_999):
        await watchdog.check()
    assert await _titles(relay_store) == ["HighErrorRate firing"]


async def test_zero_seconds_switch_the_watchdog_off(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock, configured="alertmanager", max_age=0)
    await relay_store.receive(payloads.watchdog(), START)
    for clock.now in (START, START + 9_999):
        await watchdog.check()
    assert await _titles(relay_store) == []
    assert (await watchdog.check_health()).level is Level.HEALTHY


def _beats(*replicas: str) -> dict[str, Any]:
    alerts = [alert(replica, name="Watchdog", severity="none") for replica in replicas]
    return webhook(*alerts)


async def test_a_prometheus_replica_that_stops_is_reported_by_its_name(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await relay_store.receive(_beats("prometheus-0", "prometheus-1"), START)
    for seconds in (60, 120, 180, 240, 300, 360):
        await relay_store.receive(_beats("prometheus-0"), START + seconds)
        clock.now = START + seconds
        await watchdog.check()
    assert await _titles(relay_store) == ["PrometheusSilent firing"]
    (notification,) = await relay_store.notifications()
    summary = notification.items[0].annotations["summary"]
    assert summary == "Prometheus instance=prometheus-1 does not send its Watchdog alert any more"
    assert notification.urgency is Urgency.NORMAL

    await relay_store.receive(_beats("prometheus-0", "prometheus-1"), START + 400)
    clock.now = START + 405
    await watchdog.check()
    assert (await _titles(relay_store))[1:] == ["PrometheusSilent resolved"]


async def test_while_the_whole_cluster_is_silent_its_replicas_are_not_reported(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await relay_store.receive(_beats("prometheus-0", "prometheus-1"), START)
    for clock.now in (START + 301, START + 400):
        await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


async def test_a_prometheus_replica_that_was_removed_is_forgotten_after_a_week(relay_store: Store) -> None:
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock)
    await relay_store.receive(_beats("prometheus-0", "prometheus-1"), START)
    for clock.now in (START + 400, START + heartbeats.FORGET_SECONDS + 1):
        await relay_store.receive(_beats("prometheus-0"), clock.now)
        await watchdog.check()
        await watchdog.check()
    assert await _titles(relay_store) == ["PrometheusSilent firing", "PrometheusSilent resolved"]


async def test_a_cluster_that_is_joined_takes_its_open_alert_with_it(relay_store: Store) -> None:
    """A Watchdog that goes on under another external URL must not leave WatchdogSilent behind for ever."""
    clock = SettableClock()
    watchdog, _ = _watchdog(relay_store, clock, configured="alertmanager", max_age=2_000)
    old = "http://old:9093"
    await relay_store.receive(payloads.watchdog() | {"externalURL": old}, START)
    clock.now = START + 2_001
    peer = payloads.watchdog() | {"externalURL": "http://alertmanager-0:9093"}
    await relay_store.receive(peer, START + 2_000)
    await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]
    join = partial(membership.join, url=old, target="alertmanager", now=clock.now)
    await relay_store.database.write("join", join)
    await watchdog.check()
    assert await _titles(relay_store) == ["WatchdogSilent firing", "WatchdogSilent resolved"]


async def test_other_alerts_are_no_sign_of_life(relay_store: Store) -> None:
    watchdog, registry = _watchdog(relay_store, SettableClock())
    await relay_store.receive(webhook(alert()))
    await watchdog.check()

    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") is None


async def test_incidents_are_counted_by_state(relay_store: Store) -> None:
    watchdog, registry = _watchdog(relay_store, SettableClock())
    assert registry.get_sample_value("cctelegram_incidents", {"state": "firing"}) is None  # it is not 0
    await relay_store.receive(webhook(alert("a", name="One")))
    await relay_store.receive(webhook(alert("b", name="Two")))
    await relay_store.receive(webhook(alert("a", name="One", ends_at=START + 5)), START + 5)
    await watchdog.check()

    counts = [registry.get_sample_value("cctelegram_incidents", {"state": s}) for s in ("firing", "resolved")]
    assert counts == [1, 1]
