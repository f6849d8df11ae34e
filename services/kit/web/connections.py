"""The connections of a process: how many there may be, and which one is closed when there are too many.

A connection waits for its client while it is idle, while the head or body of a request is incomplete, and
while the client does not read a response. Such a connection may be closed; a connection whose request is
being answered is not. So clients that send half of a request cannot keep others out:

- Each wait has a limit in seconds, after which the connection is closed.
- When all places are in use, a new connection replaces the one that waits longest, of the kind of wait that
  most connections are in. If none waits, new connections wait in the operating system's queue.
- Incomplete requests may hold MAX_HELD_BYTES in all; beyond that, the oldest of them are closed.
"""

import asyncio
import heapq
import resource
from collections import Counter
from collections.abc import Callable, Container, Mapping
from enum import StrEnum
from typing import Protocol

import prometheus_client
from prometheus_client import CollectorRegistry

MAX_CONNECTIONS = 4_000
#: File descriptors that are not for clients: databases, calls to Telegram and to other services, files.
OWN_DESCRIPTORS = 384
#: In incomplete requests of all connections, bytes.
MAX_HELD_BYTES = 128 << 20
SWEEP_SECONDS = 0.5
#: Of so many waiting connections one is closed, and at least one, when a place is needed.
CLOSED_SHARE = 32


class Wait(StrEnum):
    """What a connection waits for its client to do."""

    IDLE = "idle"  #: to send the next request
    HEAD = "head"  #: to complete the head of a request
    BODY = "body"  #: to complete the body of a request
    UNREAD = "unread"  #: to read a response
    CLOSING = "closing"  #: to complete the closing of the connection


class Cause(StrEnum):
    """Why a connection was closed; label of the metric."""

    TIMEOUT = "timeout"  #: the client was too slow
    TOO_MANY = "too_many"  #: its place was needed, or its memory
    HEAD_TOO_LARGE = "head_too_large"


class Connection(Protocol):
    """A connection of a client."""

    #: When the present wait began, in seconds of the event loop's clock.
    since: float
    #: Bytes of the incomplete request that were received.
    held: int

    def wait(self) -> Wait | None:
        """What it waits for; None while a request is being answered."""

    def end(self, cause: Cause) -> None:
        """Closes it, with an error response where one is possible."""


class ConnectionMetrics:
    """Counts the connections that a service closed because of a limit."""

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = prometheus_client.Counter(
            "http_connections_closed",
            "Connections closed because of a limit: the client was too slow, there were too many, "
            "or the head of its request was too large",
            ["cause"],
            registry=registry,
        )
        self.closed = {cause: counter.labels(cause.value) for cause in Cause}


def most_connections() -> int:
    """The default limit: what the limit of open files leaves, and MAX_CONNECTIONS at most."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_CONNECTIONS + OWN_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
    return min(MAX_CONNECTIONS, max(files - OWN_DESCRIPTORS, files // 2, 1))


class Connections:
    """The open connections of all services of a process.

    Args:
        most: connections at once.
        limits: seconds that a wait may last.
        most_held: bytes in incomplete requests.
    """

    def __init__(self, most: int, limits: Mapping[Wait, float], most_held: int = MAX_HELD_BYTES) -> None:
        self._most = most
        self._limits = limits
        self._most_held = most_held
        self._open: set[Connection] = set()
        self._places = 0
        self._held = 0
        self._paused: list[Callable[[], None]] = []

    def add(self, connection: Connection) -> None:
        self._open.add(connection)

    def remove(self, connection: Connection) -> None:
        self._open.discard(connection)
        self.release(connection)

    def make_place(self) -> bool:
        """Whether there is a place for a new connection. If not, closes connections that wait."""
        if self._places < self._most:
            return True
        waits = Counter(wait for one in self._open if (wait := one.wait()) is not None)
        if waits:
            self._close_oldest({waits.most_common(1)[0][0]})
        return False

    def take_place(self) -> bool:
        """Reserves a place for a new connection; false if there is none."""
        if self._places >= self._most:
            return False
        self._places += 1
        return True

    def release_place(self) -> None:
        """Returns the place of a connection that is closed, and resumes what waits for one."""
        self._places -= 1
        self._resume()

    def when_place(self, resume: Callable[[], None]) -> None:
        """Calls ``resume`` once a place may be available."""
        self._paused.append(resume)

    def hold(self, connection: Connection, size: int) -> None:
        """Counts bytes of an incomplete request; above the limit, closes those that wait longest."""
        connection.held += size
        self._held += size
        while self._held > self._most_held and self._close_oldest({Wait.HEAD, Wait.BODY}):
            pass

    def release(self, connection: Connection) -> None:
        """Counts the bytes of a request no longer: it is complete, or its connection ends."""
        self._held -= connection.held
        connection.held = 0

    async def sweep(self) -> None:
        """Closes the connections that wait too long, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in tuple(self._open):
                wait = connection.wait()
                if wait is not None and now - connection.since > self._limits[wait]:
                    connection.end(Cause.TIMEOUT)
            self._resume()

    def _resume(self) -> None:
        paused, self._paused = self._paused, []
        for resume in paused:
            resume()

    def _close_oldest(self, waits: Container[Wait | None]) -> bool:
        """Closes the share of connections that waits longest in one of these ways; false if none does."""
        found = [one for one in self._open if one.wait() in waits]
        count = -(-len(found) // CLOSED_SHARE)
        for connection in heapq.nsmallest(count, found, key=lambda one: one.since):
            connection.end(Cause.TOO_MANY)
        return bool(found)
