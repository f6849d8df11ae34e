"""The sign of life, and what is measured from the database."""

from dataclasses import dataclass

from prometheus_client import CollectorRegistry

from services.alert_relay.metrics import RelayMetrics
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


def _watch(store: Store, clock: SetClock) -> tuple[Watch, CollectorRegistry]:
    registry = CollectorRegistry()
    return Watch(store.database, RelayMetrics(registry, clock), watchdog_max_age=300), registry


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
