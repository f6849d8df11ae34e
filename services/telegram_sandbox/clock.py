"""The sandbox's clock: real time plus the time that the control API has advanced; timers follow it."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def resolve(future: "asyncio.Future[T]", value: T) -> None:
    """Sets a future's result, unless it is done or cancelled."""
    if not future.done():
        future.set_result(value)


class Timer:
    """One callback at a time of the sandbox's clock."""

    def __init__(self, clock: "SandboxClock", deadline: float, callback: Callable[[], None]) -> None:
        self._clock = clock
        self.deadline = deadline
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None

    def arm(self) -> None:
        """Starts the event loop's timer for the remaining time."""
        if self._handle is not None:
            self._handle.cancel()
        left = max(0.0, self.deadline - self._clock.now())
        self._handle = asyncio.get_running_loop().call_later(left, self._due)

    def cancel(self) -> None:
        self._clock.remove(self)
        if self._handle is not None:
            self._handle.cancel()

    def fire(self) -> None:
        """Runs the callback now, whatever the time is."""
        self.cancel()
        self._callback()

    def _due(self) -> None:
        if self._clock.now() < self.deadline:  # the source stands still, or the loop's clock is ahead of it
            self.arm()
        else:
            self.fire()


class SandboxClock:
    """The sandbox's time, in seconds since the epoch."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self._offset = 0.0
        self._timers: set[Timer] = set()

    def now(self) -> float:
        return self._source() + self._offset

    def advance(self, seconds: float) -> None:
        """Moves the time forward; timers that are due then fire in their order."""
        self._offset += seconds
        for timer in sorted(self._timers, key=lambda timer: timer.deadline):
            timer.arm()

    def release(self) -> None:
        """Fires all timers, because the service stops."""
        for timer in sorted(self._timers, key=lambda timer: timer.deadline):
            timer.fire()

    def after(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(self, self.now() + seconds, callback)
        self._timers.add(timer)
        timer.arm()
        return timer

    def remove(self, timer: Timer) -> None:
        self._timers.discard(timer)

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        timer = self.after(seconds, lambda: resolve(woken, None))
        try:
            await woken
        finally:
            timer.cancel()
