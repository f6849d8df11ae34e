"""The sandbox's clock: real time plus what the control API has advanced; timers follow the advance."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def settle(future: "asyncio.Future[T]", value: T) -> None:
    """Give a future its value, if nobody did or cancelled it before."""
    if not future.done():
        future.set_result(value)


class Timer:
    """One callback waiting for the sandbox's time; `cancel` forgets it."""

    def __init__(self, clock: "SandboxClock", deadline: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self.deadline = deadline
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Set the real timer again, for what is left of the sandbox's time."""
        if self._handle is not None:
            self._handle.cancel()
        left = max(0.0, self.deadline - self._clock.now())
        self._handle = asyncio.get_running_loop().call_later(left, self._due)

    def cancel(self) -> None:
        self._clock.forget(self)
        if self._handle is not None:
            self._handle.cancel()

    def fire(self) -> None:
        """End the wait now, whatever the time is."""
        self.cancel()
        self._callback()

    def _due(self) -> None:
        if self._clock.now() < self.deadline:  # a frozen source, or the loop's clock ran ahead of the wall's
            self.arm()
        else:
            self.fire()


class SandboxClock:
    """Seconds since the epoch, as the sandbox sees them."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0
        self._timers: set[Timer] = set()

    def now(self) -> float:
        return self._source() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the sandbox's time forward at once; timers that are due by then fire, in their order."""
        self._offset += seconds
        for timer in sorted(self._timers, key=lambda timer: timer.deadline):
            timer.arm()

    def release(self) -> None:
        """Let everything that waits go on, because the service stops."""
        for timer in sorted(self._timers, key=lambda timer: timer.deadline):
            timer.fire()

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now() + seconds, callback)
        self._timers.add(timer)
        timer.arm()
        return timer

    def forget(self, timer: Timer) -> None:
        self._timers.discard(timer)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.after(seconds, lambda: settle(woken, None))
        try:
            await woken
        finally:
            timer.cancel()
