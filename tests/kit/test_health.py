import asyncio
import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.health import STALE_AFTER_MISSED, Health, Level, Measurement, Probe, worst
from tests.servers import ManualClock

levels = st.sampled_from(Level)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(1_767_225_600.0)


@pytest.fixture
def health(clock: ManualClock) -> Health:
    return Health(clock)


def always(level: Level, **measured: object) -> Probe:
    async def probe() -> Measurement:
        return Measurement(level, measured)

    return probe


async def measured(health: Health, name: str) -> dict[str, object]:
    component = health.components[name]
    await health.measure(component)
    return component.report()


def test_a_component_that_was_never_measured_is_unknown_and_not_healthy(health: Health) -> None:
    health.add("database", always(Level.HEALTHY))
    assert health.components["database"].report() == {"status": "unknown", "last_check": None}
    assert health.level.value == "unknown"


def test_a_service_without_components_is_unknown(health: Health) -> None:
    assert health.level.value == "unknown"


async def test_a_measurement_carries_its_numbers_and_its_time(health: Health) -> None:
    health.add("database", always(Level.HEALTHY, response_time_ms=1.5))
    assert await measured(health, "database") == {
        "status": "healthy",
        "response_time_ms": 1.5,
        "last_check": "2026-01-01T00:00:00.000Z",
    }


async def test_the_worst_component_decides(health: Health) -> None:
    health.add("database", always(Level.HEALTHY))
    health.add("queue", always(Level.DEGRADED))
    health.add("telegram", always(Level.UNHEALTHY))
    for name in ("database", "queue"):
        await measured(health, name)
    assert health.level.value == "degraded"
    await measured(health, "telegram")
    assert health.level.value == "unhealthy"


@given(st.lists(levels, min_size=1))
def test_the_worst_is_one_of_them_and_no_other_outranks_it(found: list[Level]) -> None:
    order = [Level.UNKNOWN, Level.HEALTHY, Level.DEGRADED, Level.UNHEALTHY, Level.CRITICAL]
    assert order.index(worst(found)) == max(order.index(each) for each in found)


@given(st.lists(levels), levels)
def test_one_more_component_never_makes_a_service_better(found: list[Level], more: Level) -> None:
    assert worst([worst(found), worst([*found, more])]) is worst([*found, more])


async def test_an_unknown_component_does_not_spoil_a_healthy_service(health: Health) -> None:
    health.add("database", always(Level.HEALTHY))
    health.add("redis", always(Level.UNKNOWN, reason="not configured"))
    for name in ("database", "redis"):
        await measured(health, name)
    assert health.level.value == "healthy"


async def test_a_probe_that_raises_is_unhealthy_and_says_why(health: Health) -> None:
    async def broken() -> Measurement:
        raise ConnectionRefusedError("nobody listens")

    health.add("redis", broken)
    report = await measured(health, "redis")
    assert report["status"] == "unhealthy"
    assert report["error"] == "ConnectionRefusedError: nobody listens"


async def test_a_probe_that_hangs_is_unhealthy_after_its_timeout(health: Health) -> None:
    async def hanging() -> Measurement:
        await asyncio.Event().wait()
        raise AssertionError

    health.add("redis", hanging, timeout=0.01)
    report = await measured(health, "redis")
    assert report["status"] == "unhealthy"
    assert report["error"] == "no answer within 0.01 s"


async def test_the_time_in_which_the_event_loop_stood_still_does_not_count(health: Health) -> None:
    """The answer was there in time, and only this process was late to read it."""
    loop = asyncio.get_running_loop()

    async def answered_in_steps() -> Measurement:
        for _ in range(3):
            await loop.run_in_executor(None, lambda: None)
        return Measurement(Level.HEALTHY)

    health.add("database", answered_in_steps, timeout=0.3)
    measuring = asyncio.create_task(measured(health, "database"))
    await asyncio.sleep(0)  # the probe has begun
    deadline = time.monotonic() + 0.5
    while time.monotonic() < deadline:
        pass
    assert (await measuring)["status"] == "healthy"


async def test_a_component_that_reports_a_change_is_measured_at_once(health: Health) -> None:
    begun, wake = asyncio.Event(), asyncio.Event()

    async def probe() -> Measurement:
        begun.set()
        return Measurement(Level.HEALTHY)

    health.add("database", probe, every=3_600.0, wake=wake)
    watching = asyncio.create_task(health.watch())
    await begun.wait()
    begun.clear()
    wake.set()
    async with asyncio.timeout(30):
        await begun.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching


@pytest.mark.parametrize(
    ("level", "ready"),
    [
        (Level.HEALTHY, True),
        (Level.DEGRADED, True),
        (Level.UNHEALTHY, False),
        (Level.CRITICAL, False),
        (Level.UNKNOWN, False),
    ],
)
async def test_a_service_is_ready_only_while_what_it_requires_works(
    health: Health, level: Level, ready: bool
) -> None:
    health.add("database", always(level), required=True)
    await measured(health, "database")
    assert health.not_ready() == ({} if ready else {"database": level.value})


def test_a_service_is_not_ready_before_what_it_requires_was_measured(health: Health) -> None:
    health.add("database", always(Level.HEALTHY), required=True)
    assert health.not_ready() == {"database": "unknown"}


async def test_what_is_not_required_does_not_keep_a_service_from_being_ready(health: Health) -> None:
    health.add("grafana", always(Level.CRITICAL))
    await measured(health, "grafana")
    assert health.not_ready() == {}


async def test_a_reading_grows_stale_once_three_measurements_are_missing(
    health: Health, clock: ManualClock
) -> None:
    health.add("database", always(Level.HEALTHY), every=5, timeout=3)
    await measured(health, "database")
    component = health.components["database"]
    clock.advance(STALE_AFTER_MISSED * 8)
    assert component.level.value == "healthy"
    clock.advance(0.1)
    assert component.level.value == "degraded"
    assert component.report()["stale_seconds"] == 24.1
    assert health.level.value == "degraded"


async def test_a_new_measurement_ends_the_staleness(health: Health, clock: ManualClock) -> None:
    health.add("database", always(Level.HEALTHY))
    await measured(health, "database")
    clock.advance(3600)
    assert health.level.value == "degraded"
    assert "stale_seconds" not in await measured(health, "database")
    assert health.level.value == "healthy"


@pytest.mark.parametrize("level", [Level.UNKNOWN, Level.UNHEALTHY, Level.CRITICAL])
async def test_staleness_makes_nothing_better_and_tells_nothing_of_the_unknown(
    health: Health, clock: ManualClock, level: Level
) -> None:
    health.add("database", always(level))
    await measured(health, "database")
    clock.advance(3600)
    assert health.level is level


async def test_a_machine_whose_clock_is_set_does_not_make_readings_stale(
    health: Health, clock: ManualClock
) -> None:
    health.add("database", always(Level.HEALTHY))
    await measured(health, "database")
    clock.set_ahead = 86_400
    assert health.level.value == "healthy"


async def test_watching_measures_every_component_again_and_again(health: Health) -> None:
    seen: dict[str, int] = {"database": 0, "redis": 0}
    enough = asyncio.Event()

    def counting(name: str) -> Probe:
        async def probe() -> Measurement:
            seen[name] += 1
            if min(seen.values()) >= 3:
                enough.set()
            return Measurement(Level.HEALTHY)

        return probe

    for name in seen:
        health.add(name, counting(name), every=0)
    await watched_until(health, enough)
    assert min(seen.values()) >= 3


async def test_a_slow_component_does_not_hold_up_the_others(health: Health) -> None:
    quick = asyncio.Event()

    async def answers() -> Measurement:
        quick.set()
        return Measurement(Level.HEALTHY)

    async def hangs() -> Measurement:
        await asyncio.Event().wait()
        raise AssertionError

    health.add("slow", hangs, timeout=60)
    health.add("quick", answers)
    await watched_until(health, quick)
    assert health.components["slow"].report()["status"] == "unknown"


async def test_watching_goes_on_after_a_probe_raised(health: Health) -> None:
    calls = 0
    recovered = asyncio.Event()

    async def flaky() -> Measurement:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise OSError("first time")
        recovered.set()
        return Measurement(Level.HEALTHY)

    health.add("redis", flaky, every=0)
    await watched_until(health, recovered)
    assert calls >= 2


async def watched_until(health: Health, done: asyncio.Event) -> None:
    watch = asyncio.create_task(health.watch())
    async with asyncio.timeout(5):
        await done.wait()
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch
