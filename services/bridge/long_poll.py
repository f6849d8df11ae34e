"""Long polling: a request waits until there is a result, its time is over, or the service stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from fastapi import Request

from services.kit.database.connect import Database

T = TypeVar("T")

#: A notification of another replica can be lost with a connection, so look again after this.
_LOOK_SECONDS = 5.0


async def wait_until(
    request: Request, database: Database, channel: str, look: Callable[[], Awaitable[T]], seconds: float
) -> T:
    """Calls ``look`` on every notification until its result is true; returns the last result.

    Args:
        request: that waits; a closed connection or the stop of its app ends the wait.
        database: whose channel to listen on.
        channel: notified when the result may have changed.
        look: reads the result.
        seconds: to wait at most.
    """
    stopping: asyncio.Event = getattr(request.app.state, "stopping", None) or asyncio.Event()
    deadline = time.monotonic() + seconds
    ends = [asyncio.create_task(stopping.wait()), asyncio.create_task(_disconnected(request))]
    try:
        # Listening begins before looking, so that no commit in between is missed.
        with database.subscribe(channel) as notified:
            while True:
                notified.clear()
                result = await look()
                left = deadline - time.monotonic()
                if result or left <= 0 or any(end.done() for end in ends):
                    return result
                waiting = asyncio.create_task(notified.wait())
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait([waiting, *ends], timeout=min(left, _LOOK_SECONDS), return_when=first)
                waiting.cancel()
    finally:
        for end in ends:
            end.cancel()
        await asyncio.gather(*ends, return_exceptions=True)


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
