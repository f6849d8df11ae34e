"""Long polling: a request waits for a result, until its time is over or its key is no longer valid."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from services.kit.database.connect import Database
from services.kit.web.auth import unauthorized

T = TypeVar("T")

#: A notification of another replica can be lost with a connection, so look again after this.
_LOOK_SECONDS = 5.0


async def wait_until(
    request: Request,
    database: Database,
    channel: str,
    look: Callable[[], Awaitable[T]],
    *,
    seconds: float,
    key: AbstractContextManager[asyncio.Event],
) -> T:
    """Calls ``look`` on every notification until its result is true; returns the last result.

    Args:
        request: that waits; a closed connection or the stop of its app ends the wait.
        database: whose channel to listen on.
        channel: notified when the result may have changed.
        look: reads the result.
        seconds: to wait at most.
        key: a watch of the request's key, entered while the request waits.

    Raises:
        Problem: 401, the key was revoked or expired meanwhile.
    """
    deadline = time.monotonic() + seconds
    # Listening begins before looking, so that no commit in between is missed.
    with key as key_ended, database.subscribe(channel) as notified:
        async with _tasks(_stop_of(request).wait(), _disconnected(request), key_ended.wait()) as ends:
            while True:
                notified.clear()
                result = await look()
                left = deadline - time.monotonic()
                if key_ended.is_set():
                    raise unauthorized("This key is no longer valid.")
                if result or left <= 0 or any(end.done() for end in ends):
                    return result
                waiting = asyncio.create_task(notified.wait())
                first = asyncio.FIRST_COMPLETED
                await asyncio.wait([waiting, *ends], timeout=min(left, _LOOK_SECONDS), return_when=first)
                waiting.cancel()


@asynccontextmanager
async def _tasks(*coroutines: Coroutine[Any, Any, object]) -> AsyncIterator[list["asyncio.Task[object]"]]:
    """Runs coroutines as tasks for the length of the block."""
    tasks = [asyncio.create_task(one) for one in coroutines]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _stop_of(request: Request) -> asyncio.Event:
    return getattr(request.app.state, "stopping", None) or asyncio.Event()


async def _disconnected(request: Request) -> None:
    """Returns when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
