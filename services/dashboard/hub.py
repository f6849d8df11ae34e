"""Pushes updates to every connected page: one update for each interval, built once for all pages.

A page that is too slow is disconnected; it connects again and starts from the full state. A page is also
disconnected when its session ends.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
from fastapi import WebSocket

from services.dashboard.history import History
from services.dashboard.login import Authenticator, Session
from services.dashboard.metrics import Metrics
from services.dashboard.overview import RecentMessages, recent
from services.dashboard.pollers import Pollers
from services.kit.clock import Clock

#: The most updates that wait for one page.
QUEUE_SIZE = 5
#: Expired sessions are noticed within this time.
SESSION_SECONDS = 0.5
#: Close codes of the WebSocket.
NOT_LOGGED_IN = 4401
TOO_SLOW = 4408


@dataclass(eq=False, slots=True)
class ConnectedPage:
    """One connected page and the updates that wait for it."""

    session: Session | None
    updates: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(QUEUE_SIZE))
    dropped: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def drop(self, code: int) -> None:
        """Disconnects the page with a close code."""
        if not self.dropped.done():
            self.dropped.set_result(code)


class Hub:
    """The connected pages.

    Args:
        pollers: the last answers of the services.
        history: the numbers of the charts.
        authenticator: pages with an ended session are disconnected.
        metrics: of the WebSocket.
        interval: seconds between two updates.
        clock: the time of the history's samples.
    """

    def __init__(
        self,
        pollers: Pollers,
        history: History,
        authenticator: Authenticator,
        metrics: Metrics,
        *,
        interval: float,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._pollers = pollers
        self._history = history
        self._authenticator = authenticator
        self._metrics = metrics
        self._interval = interval
        self._pages: set[ConnectedPage] = set()
        self._last_recent: RecentMessages | None = None

    async def run(self) -> None:
        """Sends updates to every page until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if self._pages:
                self.publish(self._update())

    async def watch_sessions(self) -> None:
        """Disconnects pages whose session has expired, until cancelled."""
        while True:
            await asyncio.sleep(SESSION_SECONDS)
            self.drop_ended()

    def drop_ended(self) -> None:
        """Disconnects the pages whose session has ended."""
        for page in self._pages:
            if page.session is not None and not self._authenticator.valid(page.session):
                page.drop(NOT_LOGGED_IN)

    def publish(self, update: str) -> None:
        """Queues an update for every page; disconnects slow pages and those with an ended session."""
        self.drop_ended()
        for page in self._pages:
            if page.dropped.done():
                continue
            try:
                page.updates.put_nowait(update)
            except asyncio.QueueFull:
                self._metrics.errors.inc()
                page.drop(TOO_SLOW)

    def full_update(self) -> str:
        """Returns the first update of a page: the full state."""
        return _json(
            state=self._pollers.overview().model_dump(mode="json"),
            history=self._history.series(),
            recent=recent(self._pollers.recent.polled).model_dump(mode="json"),
        )

    def _update(self) -> str:
        """Returns the state, the newest slices of the history, and the messages if they changed."""
        since = self._clock.time() - 2 * self._history.step
        parts: dict[str, Any] = {
            "state": self._pollers.overview().model_dump(mode="json"),
            "history": self._history.series(since=since),
        }
        found = recent(self._pollers.recent.polled)
        if self._last_recent is None or found != self._last_recent:
            self._last_recent = found
            parts["recent"] = found.model_dump(mode="json")
        return _json(**parts)

    async def serve(self, socket: WebSocket, page: ConnectedPage) -> None:
        """Sends updates to one page until it leaves or is disconnected."""
        self._pages.add(page)
        self._metrics.connections.inc()
        sender = asyncio.create_task(self._send(socket, page))
        departure = asyncio.create_task(_until_left(socket))
        try:
            ends: set[asyncio.Future[Any]] = {sender, departure, page.dropped}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if sender.done() and not departure.done():
                self._metrics.errors.inc()
        finally:
            self._pages.discard(page)
            self._metrics.connections.dec()
            sender.cancel()
            departure.cancel()
            await asyncio.gather(departure, sender, return_exceptions=True)
        if page.dropped.done():
            await socket.close(page.dropped.result())

    async def _send(self, socket: WebSocket, page: ConnectedPage) -> None:
        update = self.full_update()
        while True:
            await socket.send_text(update)
            self._metrics.messages.inc()
            update = await page.updates.get()


async def _until_left(socket: WebSocket) -> None:
    """Waits until the page disconnects; its messages are ignored."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _json(**parts: Any) -> str:
    return orjson.dumps(parts).decode()
