"""Long polls: an answer as soon as there is one, else after the asked time, or when the service stops."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from fastapi import Request

from services.kit.db import Database

T = TypeVar("T")

#: News of another replica may be lost with a connection: look again after this.
_LOOK_SECONDS = 5.0


async def until(request: Request, channel: str, look: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Looks until what it sees is true, or the time is over.

    Args:
        request: who asks; its app tells when the service stops.
        channel: of the database, woken when there may be something.
        look: reads.
        seconds: to wait at most.
    """
    database: Database = request.state.outbox.database
    stopping: asyncio.Event = getattr(request.app.state, "stopping", None) or asyncio.Event()
    deadline = time.monotonic() + seconds
    while True:
        # Listening begins before looking: what is committed in between is not missed.
        news = asyncio.create_task(database.wait(channel, _LOOK_SECONDS))
        await asyncio.sleep(0)
        try:
            seen = await look()
            left = deadline - time.monotonic()
            if seen or left <= 0 or stopping.is_set():
                return seen
            await _first(news, stopping, left)
        finally:
            news.cancel()
            with suppress(asyncio.CancelledError):
                await news


async def _first(news: "asyncio.Task[bool]", stopping: asyncio.Event, seconds: float) -> None:
    stopped = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({news, stopped}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopped.cancel()
