"""Long polls: an answer as soon as there is one, else after the asked time, or when the service stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from services.kit.database.connect import Database

T = TypeVar("T")

#: News of another replica may be lost with a connection: look again after this.
_LOOK_SECONDS = 5.0


async def until(
    request: Request, database: Database, channel: str, look: Callable[[], Awaitable[T]], seconds: float
) -> T:
    """Looks until what it sees is true, the time is over, or nobody waits any more.

    Args:
        request: who waits; its app tells when the service stops.
        database: that wakes the channel.
        channel: woken when there may be something.
        look: reads.
        seconds: to wait at most.
    """
    stopping: asyncio.Event = getattr(request.app.state, "stopping", None) or asyncio.Event()
    deadline = time.monotonic() + seconds
    ends = [asyncio.create_task(stopping.wait()), asyncio.create_task(_gone(request))]
    try:
        # Listening begins before looking: what is committed in between is not missed.
        with database.news(channel) as news:
            while True:
                news.clear()
                seen = await look()
                left = deadline - time.monotonic()
                if seen or left <= 0 or any(end.done() for end in ends):
                    return seen
                heard = asyncio.create_task(news.wait())
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait([heard, *ends], timeout=min(left, _LOOK_SECONDS), return_when=first)
                heard.cancel()
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def _gone(request: Request) -> None:
    """Returns when the client has hung up: nobody is there for the answer."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
