"""The queue of logins: one password is checked at a time, and only a few wait.

A check takes 64 MiB and about 0.2 s. Without a bound, a crowd of wrong logins would keep the right one
waiting. When the queue is full, the waiting login with the highest rank is refused for one with a lower rank.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from services.kit.errors import Problem
from services.kit.web.rate_limit import SecurityMetrics

MOST_WAITING = 10
RETRY_SECONDS = 4.0


@dataclass(order=True, slots=True)
class Ticket:
    """A login that waits; the lowest rank is next, and of one rank the one that came first."""

    rank: int
    number: int
    network: str = field(compare=False)
    called: "asyncio.Future[None]" = field(compare=False)


class LoginQueue:
    """Admits one login at a time.

    Args:
        metrics: count refused logins.
    """

    def __init__(self, metrics: SecurityMetrics) -> None:
        self._metrics = metrics
        self._numbers = itertools.count()
        self._waiting: list[Ticket] = []
        self._is_busy = False

    @asynccontextmanager
    async def turn(self, network: str, failures: int) -> AsyncIterator[None]:
        """Waits for the turn of a login, which lasts for the block.

        Args:
            network: where it comes from; each login that already waits from there raises its rank by one.
            failures: failed logins from there, its rank; -1: a login from there succeeded before.

        Raises:
            Problem: 429, too many logins with a lower or the same rank wait.
        """
        if self._is_busy:
            await self._wait(network, failures)
        self._is_busy = True
        try:
            yield
        finally:
            self._call_next()

    async def _wait(self, network: str, failures: int) -> None:
        rank = failures + sum(other.network == network for other in self._waiting)
        ticket = Ticket(rank, next(self._numbers), network, asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        if len(self._waiting) > MOST_WAITING:
            last = max(self._waiting)
            self._waiting.remove(last)
            if not last.called.done():
                last.called.set_exception(self._refusal())
        try:
            await ticket.called
        except asyncio.CancelledError:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif not ticket.called.cancelled() and ticket.called.exception() is None:
                self._call_next()  # it was called just before it was cancelled
            raise

    def _call_next(self) -> None:
        """Gives the turn to the next login; there is no moment in which another one could take it."""
        self._is_busy = False
        while self._waiting and not self._is_busy:
            ticket = min(self._waiting)
            self._waiting.remove(ticket)
            if not ticket.called.done():
                ticket.called.set_result(None)
                self._is_busy = True

    def _refusal(self) -> Problem:
        return self._metrics.too_many(RETRY_SECONDS, "Too many people log in at this moment.")
