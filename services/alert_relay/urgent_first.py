"""Limits how many webhooks are stored at once; of those that wait, urgent ones go first.

The database stores one webhook of a cluster after the other. In a storm a critical alert would wait for every
webhook that came before it.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class UrgentFirst:
    """A limit of concurrency with two classes of waiters; in each the order of arrival holds.

    Args:
        limit: of what runs at once.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._arrived = 0
        #: Not urgent, order of arrival, and what the waiter waits for.
        self._waiting: list[tuple[bool, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, *, urgent: bool) -> AsyncIterator[None]:
        """Runs the block when it is its turn."""
        await self._wait(urgent=urgent)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, *, urgent: bool) -> None:
        if self._free:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrived += 1
        heapq.heappush(self._waiting, (not urgent, self._arrived, granted))
        try:
            await granted
        except asyncio.CancelledError:
            # The turn may have come in the same moment.
            if granted.done() and not granted.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Gives the turn to the next waiter that still waits."""
        while self._waiting:
            _, _, granted = heapq.heappop(self._waiting)
            if not granted.done():
                granted.set_result(None)
                return
        self._free += 1
