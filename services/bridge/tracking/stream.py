"""The stream: every state change of messages and questions as a server-sent event.

It reads the change feed of the database: complete, in the order of commits, for all replicas. A change of
this process wakes the reader; changes of other replicas are found by polling four times a second while a
client is connected. So no broker is needed, and ``Last-Event-ID`` resumes exactly, at any replica.

A stream ends with the service, and with the key that opened it.

The newest changes are cached once for all clients. A client has no buffer, only a position. A client that
falls behind the cache gets the event `slow` and is disconnected; it may resume from its last event.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import islice

import orjson
import structlog
from sqlalchemy import Connection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.bridge.tracking import approval_changes, views
from services.bridge.tracking.metrics import TrackingMetrics
from services.kit.database.connect import Database
from services.kit.errors import Problem
from services.outbox import change_feed
from services.outbox.change_feed import Change, Position

log = structlog.get_logger()

POLL_SECONDS = 0.25
RETRY_SECONDS = 1.0
MOST_CACHED = 10_000
MOST_CLIENTS = 100
#: A client that reads nothing for this long is disconnected.
STALLED_SECONDS = 10.0
#: Events that are filtered for one client before others get their turn.
_PORTION = 200


@dataclass(frozen=True, slots=True)
class StreamFilter:
    """The filter of a client; an empty set and None match everything.

    Args:
        states: of the message, after the change.
        types: of the event.
        chat_ids: of the recipient: all ids that it has had.
    """

    states: frozenset[str] = frozenset()
    types: frozenset[str] = frozenset()
    chat_ids: frozenset[int] = frozenset()
    correlation_id: str | None = None
    bot: str | None = None

    def matches(self, change: "StreamedChange") -> bool:
        return (
            (not self.states or change.state in self.states)
            and (not self.types or change.type in self.types)
            and (not self.chat_ids or change.chat_id in self.chat_ids)
            and self.bot in (None, change.bot)
            and self.correlation_id in (None, change.correlation_id)
        )


@dataclass(frozen=True, slots=True)
class StreamedChange:
    """A change as a frame, with the properties that filters match."""

    position: Position
    state: str
    type: str
    chat_id: int
    bot: str
    correlation_id: str
    frame: bytes


def frame(event: str, data: object, position: Position | None = None) -> bytes:
    """One server-sent event."""
    identified = f"id: {position}\n" if position is not None else ""
    return f"{identified}event: {event}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


def streamed(change: Change) -> StreamedChange:
    row, status = change.message, approval_changes.status_of(change)
    if status is None:
        shown = frame("change", views.change(change).model_dump(), change.position)
    else:
        shown = frame("approval", views.approval(change, status).model_dump(), change.position)
    return StreamedChange(
        change.position,
        change.state,
        row["type"],
        row["chat_id"],
        row["bot"],
        row["correlation_id"],
        shown,
    )


def streamable(changes: Sequence[Change]) -> list[StreamedChange]:
    """The changes as frames. One whose row cannot be read is left out: it must not stop the stream."""
    found = []
    for change in changes:
        try:
            found.append(streamed(change))
        except (TypeError, ValueError) as error:
            log.warning("change_unreadable", position=str(change.position), error=str(error))
    return found


class Stream:
    """Reads the change feed once for all clients."""

    def __init__(
        self, database: Database, metrics: TrackingMetrics, *, heartbeat: float, cached: int = MOST_CACHED
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._heartbeat = heartbeat
        self._cache: deque[StreamedChange] = deque(maxlen=cached)
        #: The position before the oldest cached change, and after the newest.
        self._from = self._to = Position()
        self._clients = 0
        self._news = asyncio.Event()
        self._wanted = asyncio.Event()

    async def run(self) -> None:
        """Reads while a client is connected, until cancelled."""
        while True:
            await self._wanted.wait()
            try:
                await self._read_on()
            except Problem as problem:
                log.warning("stream_waits", error=str(problem))
                await asyncio.sleep(RETRY_SECONDS)

    async def _read_on(self) -> None:
        after = self._to
        changes, position = await self._database.read("stream", partial(change_feed.read, after=after))
        if self._to != after:  # the last client left meanwhile and another one came
            return
        if position == after:
            await self._database.wait(change_feed.CHANNEL, POLL_SECONDS)
            return
        for change in streamable(changes):
            if len(self._cache) == self._cache.maxlen:
                self._from = self._cache[0].position
            self._cache.append(change)
        self._to = position
        self._news.set()
        self._news = asyncio.Event()

    async def open(
        self,
        wanted: StreamFilter,
        after: Position | None,
        stopping: asyncio.Event,
        key: AbstractContextManager[asyncio.Event],
    ) -> AsyncGenerator[bytes, None]:
        """The frames for one client, until it is too slow, its key is invalid or the service stops.

        Args:
            wanted: the filter.
            after: position of the client's last event; None: from now on.
            stopping: set when the service stops.
            key: a watch of the client's key, entered while the client is connected.

        Raises:
            Problem: 503, too many streams are open, or the database is down.
        """
        self._check_room()
        end, whole = await self._database.read("stream", partial(_extent, after=after))
        start = Start(end if after is None or after > end else after, end, whole)
        return self._follow(wanted, start, stopping, key)

    async def _follow(
        self,
        wanted: StreamFilter,
        start: "Start",
        stopping: asyncio.Event,
        key: AbstractContextManager[asyncio.Event],
    ) -> AsyncGenerator[bytes, None]:
        self._enter(start.end)
        try:
            with key as key_ended:
                async for part in self._frames(wanted, start, Ends(stopping, key_ended)):
                    yield part
        finally:
            self._leave()

    def _check_room(self) -> None:
        if self._clients >= MOST_CLIENTS:
            raise Problem(
                503,
                "Too many streams",
                f"{MOST_CLIENTS} streams are open already.",
                headers={"Retry-After": "30"},
            )

    def _enter(self, end: Position) -> None:
        self._clients += 1
        self._metrics.followers.set(self._clients)
        if not self._wanted.is_set():
            self._from = self._to = end
            self._wanted.set()

    def _leave(self) -> None:
        self._clients -= 1
        self._metrics.followers.set(self._clients)
        if not self._clients:
            self._wanted.clear()
            self._cache.clear()

    async def _frames(
        self, wanted: StreamFilter, start: "Start", ends: "Ends"
    ) -> AsyncGenerator[bytes, None]:
        here, live = start.position, False
        # The position is sent at once: a client that is cut off before the first change misses nothing.
        yield b"retry: 2000\n" + frame("ready", {"position": str(here)}, here)
        if not start.whole:
            yield frame("gap", {"detail": _GAP})
        while not ends.reason:
            if here >= self._from:
                live = True
                portion, here = self._portion(here)
            elif live:
                self._metrics.dropped.inc()
                yield frame("slow", {"detail": "You read too slowly; resume with Last-Event-ID."})
                return
            else:
                portion, here = await self._stored(here)
            fitting = b"".join(one.frame for one in portion if wanted.matches(one))
            if fitting:
                yield fitting
            elif here >= self._to and not await self._news_or(ends):
                # With the position, so that changes outside the filter are not read again.
                yield f": still here\nid: {here}\n\n".encode()
        yield frame("bye", {"detail": ends.reason})

    async def _stored(self, here: Position) -> tuple[list[StreamedChange], Position]:
        """Changes from before the cache, read from the database."""
        changes, after = await self._database.read("stream", partial(change_feed.read, after=here))
        return streamable(changes), after if after > here else self._from

    def _portion(self, here: Position) -> tuple[list[StreamedChange], Position]:
        start = bisect_right(self._cache, here, key=_position_of)
        portion = list(islice(self._cache, start, start + _PORTION))
        at_end = start + len(portion) == len(self._cache)
        return portion, max(here, self._to) if at_end else portion[-1].position

    async def _news_or(self, ends: "Ends") -> bool:
        """Waits for a change or the end; False if a heartbeat's time passed first."""
        events = (self._news, ends.stopping, ends.key_ended)
        waits = [asyncio.create_task(event.wait()) for event in events]
        try:
            done, _ = await asyncio.wait(waits, timeout=self._heartbeat, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return bool(done)


def _position_of(one: StreamedChange) -> Position:
    return one.position


_GAP = "Changes after your last event are no longer stored; read GET /api/v1/messages for them."


@dataclass(frozen=True, slots=True)
class Ends:
    """The events that end a stream: the service stops, or the client's key is revoked or expires."""

    stopping: asyncio.Event
    key_ended: asyncio.Event

    @property
    def reason(self) -> str:
        """The event that is set, as a sentence for the client; empty while there is none."""
        if self.key_ended.is_set():
            return "Your key is no longer valid."
        return "The service stops; resume with Last-Event-ID." if self.stopping.is_set() else ""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a client starts, where the feed ends, and whether everything in between is stored."""

    position: Position
    end: Position
    whole: bool


def _extent(connection: Connection, after: Position | None) -> tuple[Position, bool]:
    end = change_feed.end(connection)
    return end, after is None or (after <= end and change_feed.covers(connection, after))


class EventStream(Response):
    """Sends frames until they end, or the client leaves or stops reading."""

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        dropped: Callable[[], None],
        stalled: float = STALLED_SECONDS,
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._frames = frames
        self._dropped = dropped
        self._stalled = stalled

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        sending = asyncio.create_task(self._send(send))
        leaving = asyncio.create_task(_left(receive))
        await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        sending.cancel()
        for ended in await asyncio.gather(sending, leaving, return_exceptions=True):
            if isinstance(ended, Exception):
                raise ended

    async def _send(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        try:
            async for part in self._frames:
                async with asyncio.timeout(self._stalled):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        except TimeoutError:
            self._dropped()
            log.warning("stream_stalled", seconds=self._stalled)
            return
        finally:
            await self._frames.aclose()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
