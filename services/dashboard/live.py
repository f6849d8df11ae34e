"""The WebSocket: one update an interval to every page, made once for all of them.

A page that does not keep up is dropped, so that it costs nothing; it connects again and
starts from the whole.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import orjson
import structlog
from fastapi import APIRouter, WebSocket

from services.dashboard.history import History
from services.dashboard.login import COOKIE, Door, Session, same_origin
from services.dashboard.metrics import Metrics
from services.dashboard.overview import Recent, recent
from services.dashboard.pollers import Sources
from services.kit.clock import Clock

log = structlog.get_logger()
BEHIND = 5  #: updates that may wait for one page
NOT_LOGGED_IN = 4401
TOO_SLOW = 4408

router = APIRouter()


@dataclass(eq=False, slots=True)
class Page:
    """One connected page and the updates that it was not sent yet."""

    session: Session | None
    updates: asyncio.Queue[str] = field(default_factory=lambda: asyncio.Queue(BEHIND))
    dropped: asyncio.Future[int] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def drop(self, code: int) -> None:
        if not self.dropped.done():
            self.dropped.set_result(code)


class Hub:
    """Who is connected, and what they are told.

    Args:
        sources: what is known.
        history: of the charts.
        door: sessions that end are dropped.
        metrics: of the WebSocket.
        interval: seconds between two updates.
        clock: of the history's samples.
    """

    def __init__(
        self,
        sources: Sources,
        history: History,
        door: Door,
        metrics: Metrics,
        *,
        interval: float,
        clock: Clock,
    ) -> None:
        self._clock = clock
        self._sources = sources
        self._history = history
        self._door = door
        self._metrics = metrics
        self._interval = interval
        self._pages: set[Page] = set()
        self._told: Recent | None = None

    async def run(self) -> None:
        """Tells every page the news until cancelled."""
        while True:
            await asyncio.sleep(self._interval)
            if self._pages:
                self.publish(self._news())

    def publish(self, update: str) -> None:
        """Puts an update in every page's queue; drops who is too far behind or logged out."""
        for page in self._pages:
            if page.session is not None and not self._door.valid(page.session):
                page.drop(NOT_LOGGED_IN)
                continue
            try:
                page.updates.put_nowait(update)
            except asyncio.QueueFull:
                self._metrics.errors.inc()
                page.drop(TOO_SLOW)

    def whole(self) -> str:
        """What a page starts from."""
        return _text(
            state=self._sources.state().model_dump(mode="json"),
            history=self._history.series(),
            recent=recent(self._sources.recent.heard).model_dump(mode="json"),
        )

    def _news(self) -> str:
        """The state, the newest slices of the history, and the messages if they changed."""
        since = self._clock.time() - 2 * self._history.step
        parts: dict[str, Any] = {
            "state": self._sources.state().model_dump(mode="json"),
            "history": self._history.series(since=since),
        }
        found = recent(self._sources.recent.heard)
        if self._told is None or found != self._told:
            self._told = found
            parts["recent"] = found.model_dump(mode="json")
        return _text(**parts)

    async def serve(self, socket: WebSocket, page: Page) -> None:
        """Sends updates to one page until it leaves or is dropped."""
        self._pages.add(page)
        self._metrics.connections.inc()
        sending = asyncio.create_task(self._send(socket, page))
        leaving = asyncio.create_task(_left(socket))
        try:
            ends: set[asyncio.Future[Any]] = {sending, leaving, page.dropped}
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if sending.done() and not leaving.done():
                self._metrics.errors.inc()
        finally:
            self._pages.discard(page)
            self._metrics.connections.dec()
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(leaving, sending, return_exceptions=True)
        if page.dropped.done():
            await socket.close(page.dropped.result())

    async def _send(self, socket: WebSocket, page: Page) -> None:
        update = self.whole()
        while True:
            await socket.send_text(update)
            self._metrics.messages.inc()
            update = await page.updates.get()


async def _left(socket: WebSocket) -> None:
    """Ends when the page does; whatever it says until then is not asked for."""
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


def _text(**parts: Any) -> str:
    return orjson.dumps(parts).decode()


@router.websocket("/api/live")
async def live(socket: WebSocket) -> None:
    """Updates as JSON text: ``state`` always, ``history`` and ``recent`` as they change."""
    if not same_origin(socket):
        await socket.close(1008)
        return
    await socket.accept()
    door: Door = socket.state.door
    session = door.session(socket.cookies.get(COOKIE))
    if door.enabled and session is None:
        await socket.close(NOT_LOGGED_IN)
        return
    hub: Hub = socket.state.hub
    await hub.serve(socket, Page(session))
