"""The sandbox's clock, which tests and the control API advance."""

import asyncio

from services.telegram_sandbox.clock import SandboxClock
from tests.telegram_sandbox.conftest import soon


def frozen() -> SandboxClock:
    return SandboxClock(lambda: 1_000.0)


async def test_sleepers_wake_in_order_when_the_time_is_advanced_past_them() -> None:
    clock, woken = frozen(), []

    async def sleeper(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(seconds)

    tasks = [asyncio.create_task(sleeper(seconds)) for seconds in (3, 1, 2, 9)]
    await asyncio.sleep(0)
    clock.advance(5)
    await soon(asyncio.gather(*tasks[:3]))
    assert woken == [1, 2, 3]
    assert clock.now() == 1_005.0
    clock.advance(4)
    await soon(tasks[3])


async def test_a_cancelled_sleeper_leaves_no_timer() -> None:
    clock = frozen()
    task = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not clock._timers


async def test_a_running_clock_wakes_its_sleepers() -> None:
    await soon(SandboxClock().sleep(0.01))


async def test_a_release_ends_every_wait_without_moving_the_time() -> None:
    clock = frozen()
    task = asyncio.create_task(clock.sleep(3_600))
    await asyncio.sleep(0)
    clock.release()
    await soon(task)
    assert clock.now() == 1_000.0
