"""The sign of life, and what is measured from the database."""

from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry

from services.alert_relay import store
from services.alert_relay.deadman import DeadMan
from services.alert_relay.episodes import Heard
from services.alert_relay.metrics import RelayMetrics
from services.alert_relay.notifications import Urgency
from services.alert_relay.store import Addressed
from services.alert_relay.watch import Watch
from services.kit.health import Level
from tests.alert_relay import payloads
from tests.alert_relay.conftest import Store
from tests.alert_relay.payloads import START, alert, webhook


@dataclass
class SetClock:
    now: float = START

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def _watch(relay_store: Store, clock: SetClock) -> tuple[Watch, CollectorRegistry]:
    registry = CollectorRegistry()
    metrics = RelayMetrics(registry, clock)
    dead_man = DeadMan(StoreTeller(relay_store, clock), max_age=300, clock=clock)
    return Watch(relay_store.database, metrics, dead_man, watchdog_max_age=300), registry


@dataclass
class StoreTeller:
    """Tells of what was found as the relay does, without sending it."""

    relay: Store
    clock: SetClock

    async def tell_of(self, heard: Heard) -> None:
        to = Addressed((1001,), self.relay.telemetry.new_trace())
        work = partial(store.tell_of, heard=heard, to=to, now=self.clock.now)
        await self.relay.database.write("tell_of", work)


async def _titles(relay_store: Store) -> list[str]:
    return [notice.title for notice in await relay_store.told()]


async def test_people_are_told_once_when_the_sign_of_life_stays_away_and_once_when_it_is_back(
    relay_store: Store,
) -> None:
    clock = SetClock()
    watch, _ = _watch(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    for clock.now in (START + 10, START + 300, START + 301, START + 400, START + 500):
        await watch.measure()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]
    (notice,) = await relay_store.told()
    assert notice.urgency is Urgency.LOUD
    assert "came last at 2026-01-01T00:00:00" in notice.items[0].annotations["description"]

    await relay_store.receive(payloads.watchdog(), START + 600)
    for clock.now in (START + 601, START + 700):
        await watch.measure()
    assert await _titles(relay_store) == ["WatchdogSilent firing", "WatchdogSilent resolved"]
    assert [row["state"] for row in await relay_store.incidents()] == ["resolved"]


async def test_a_silence_that_was_told_is_not_told_again_after_a_restart(relay_store: Store) -> None:
    clock = SetClock()
    watch, _ = _watch(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    clock.now = START + 301
    await watch.measure()

    restarted, _ = _watch(relay_store, clock)
    for clock.now in (START + 302, START + 1_000):
        await restarted.measure()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


async def test_a_relay_that_was_away_itself_listens_before_it_speaks(relay_store: Store) -> None:
    await relay_store.receive(payloads.watchdog(), START)
    clock = SetClock(START + 4_000)
    watch, _ = _watch(relay_store, clock)
    for clock.now in (START + 4_000, START + 4_300):
        await watch.measure()
    assert await _titles(relay_store) == []
    clock.now = START + 4_301
    await watch.measure()
    assert await _titles(relay_store) == ["WatchdogSilent firing"]


async def test_nobody_is_told_that_all_is_well_where_nothing_was_wrong(relay_store: Store) -> None:
    clock = SetClock()
    watch, _ = _watch(relay_store, clock)
    await watch.measure()
    await relay_store.receive(payloads.watchdog(), START)
    for clock.now in (START + 5, START + 250):
        await watch.measure()
    assert await _titles(relay_store) == []


async def test_before_the_first_sign_of_life_there_is_no_age_and_no_level(relay_store: Store) -> None:
    watch, registry = _watch(relay_store, SetClock())
    await watch.measure()

    assert (await watch.check_watchdog()).level is Level.UNKNOWN
    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") is None


async def test_a_sign_of_life_is_healthy_until_it_stays_away_too_long(relay_store: Store) -> None:
    clock = SetClock()
    watch, registry = _watch(relay_store, clock)
    await relay_store.receive(payloads.watchdog(), START)
    await watch.measure()

    levels = []
    for clock.now in (START + 60, START + 300, START + 301):
        levels.append((await watch.check_watchdog()).level)
    assert levels == [Level.HEALTHY, Level.HEALTHY, Level.UNHEALTHY]
    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") == 301


async def test_a_sign_of_life_is_remembered_across_a_restart(relay_store: Store) -> None:
    """A relay that comes back does not forget that it was already waiting."""
    await relay_store.receive(payloads.watchdog(), START)

    restarted, registry = _watch(relay_store, SetClock(START + 4_000))
    await restarted.measure()

    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") == 4_000
    assert (await restarted.check_watchdog()).level is Level.UNHEALTHY


async def test_other_alerts_are_no_sign_of_life(relay_store: Store) -> None:
    watch, registry = _watch(relay_store, SetClock())
    await relay_store.receive(webhook(alert()))
    await watch.measure()

    assert registry.get_sample_value("cctelegram_watchdog_age_seconds") is None


async def test_incidents_are_counted_by_state(relay_store: Store) -> None:
    watch, registry = _watch(relay_store, SetClock())
    await relay_store.receive(webhook(alert("a", name="One")))
    await relay_store.receive(webhook(alert("b", name="Two")))
    await relay_store.receive(webhook(alert("a", name="One", ends_at=START + 5)), START + 5)
    await watch.measure()

    counts = [registry.get_sample_value("cctelegram_incidents", {"state": s}) for s in ("firing", "resolved")]
    assert counts == [1, 1]
