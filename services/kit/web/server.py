"""The HTTP server of a service: uvicorn's, but it accepts a connection only while there is a place for it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import structlog
import uvicorn

from services.kit.web.connections import ConnectionMetrics, Connections
from services.kit.web.protocols import LimitedHttp

log = structlog.get_logger()

DATE_SECONDS = 1.0
#: Connections that are accepted before the event loop does something else.
ACCEPTED_AT_ONCE = 32
#: After the operating system refused a connection, for example for lack of descriptors.
ACCEPT_AGAIN_SECONDS = 0.5


class Server(uvicorn.Server):
    """Stops on an event; uvicorn itself checks a flag ten times a second, also while idle.

    Args:
        config: of uvicorn.
        stop: ends the server.
        connections: of the process.
        metrics: of the service.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        stop: asyncio.Event,
        connections: Connections,
        metrics: ConnectionMetrics,
    ) -> None:
        super().__init__(config)
        self._stop = stop
        self._connections = connections
        self._metrics = metrics
        self._listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []  # uvicorn's own listeners
        for bound in sockets or ():
            listener = Listener(bound, self._protocol, self._connections)
            self._listeners.append(listener)
            listener.start()
        self.started = True

    def _protocol(self) -> LimitedHttp:
        return LimitedHttp(self.config, self.server_state, self._connections, self._metrics)

    async def main_loop(self) -> None:
        while not self._stop.is_set():
            await self.on_tick(0)  # updates the Date header
            with suppress(TimeoutError):
                async with asyncio.timeout(DATE_SECONDS):
                    await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in self._listeners:
            listener.stop()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Does nothing: the runner handles the signals for all servers of the process."""
        yield


class Listener:
    """Accepts the connections of a bound socket; without a free place they stay in the socket's queue.

    Args:
        bound: listens already, and does not block.
        protocol: makes the protocol of a connection, which releases its place.
        connections: of the process.
    """

    def __init__(
        self, bound: socket.socket, protocol: Callable[[], asyncio.Protocol], connections: Connections
    ) -> None:
        self._socket = bound
        self._protocol = protocol
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._opening: set[asyncio.Task[None]] = set()
        self._is_stopped = False

    def start(self) -> None:
        if not self._is_stopped:
            self._loop.add_reader(self._socket, self._accept)

    def stop(self) -> None:
        self._is_stopped = True
        self._loop.remove_reader(self._socket)

    def _accept(self) -> None:
        """Called when a connection is in the queue."""
        if not self._connections.make_place():
            self._loop.remove_reader(self._socket)
            self._connections.when_place(self.start)
            return
        for _ in range(ACCEPTED_AT_ONCE):
            if not self._connections.take_place():
                return
            try:
                client, _ = self._socket.accept()
            except OSError as error:
                self._connections.release_place()
                self._not_accepted(error)
                return
            client.setblocking(False)
            task = self._loop.create_task(self._open(client))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def _not_accepted(self, error: OSError) -> None:
        """Waits a while, unless there is no connection, or its client has left."""
        if isinstance(error, BlockingIOError | ConnectionError | InterruptedError):
            return
        log.warning("accept_failed", error=error.strerror)
        self._loop.remove_reader(self._socket)
        self._loop.call_later(ACCEPT_AGAIN_SECONDS, self.start)

    async def _open(self, client: socket.socket) -> None:
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(self._protocol, client)
        except OSError as error:
            client.close()
            self._connections.release_place()
            log.info("connection_failed", error=error.strerror)
