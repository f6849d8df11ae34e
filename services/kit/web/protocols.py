"""HTTP and WebSocket of a connection: uvicorn's protocols, with limits on the client's size and time.

A request that cannot be taken gets a problem document, as every other error does: 400, 408, 431 or 503.
"""

import asyncio
from functools import partial
from http import HTTPStatus
from typing import Any

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from services.kit.errors import Problem
from services.kit.web.body_stream import PROGRESS
from services.kit.web.connections import Cause, ConnectionMetrics, Connections, Wait

#: Of a request: its first line and all header fields.
MAX_HEAD_BYTES = 65_536

_NO_REQUEST = Problem(400, "Bad Request", "This is not a valid HTTP request.")
_TOO_LARGE = Problem(
    431, "Request Header Fields Too Large", f"The head of a request may have {MAX_HEAD_BYTES} bytes."
)
_ANSWERS = {
    Cause.TIMEOUT: Problem(408, "Request Timeout", "The request was not complete in time."),
    Cause.TOO_MANY: Problem(
        503, "Service Unavailable", "There are too many connections.", headers={"Retry-After": "1"}
    ),
}


class HeadTooLargeError(Exception):
    """The head of a request is over the limit. Raised inside the parser, which stops."""


class LimitedHttp(HttpToolsProtocol):
    """One HTTP connection. Its place is released when it ends.

    Args:
        config: of the server.
        state: of the server; has all its connections.
        connections: of the process.
        metrics: of the service.
    """

    def __init__(
        self, config: Config, state: ServerState, connections: Connections, metrics: ConnectionMetrics
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.held = 0
        self.since = self.loop.time()
        self._connections = connections
        self._metrics = metrics
        #: What the parser waits for, whether an earlier request is being answered or not.
        self._reading = Wait.HEAD
        self._refusal = _NO_REQUEST
        self._closing_seen = False
        self.ws_protocol_class = partial(  # type: ignore[assignment] # uvicorn only calls it
            LimitedWebSocket, connections=connections, metrics=metrics
        )

    # What the process may do with it

    def wait(self) -> Wait | None:
        if self.transport.is_closing():
            if not self._closing_seen:
                self._closing_seen, self.since = True, self.loop.time()
            return Wait.CLOSING
        if self.flow.write_paused:
            return Wait.UNREAD
        if self.pipeline or ((cycle := self._unanswered()) and not cycle.more_body):
            return None
        return self._reading

    def _unanswered(self) -> RequestResponseCycle | None:
        """The newest request, while its response is not complete."""
        cycle: RequestResponseCycle | None = self.cycle
        return None if cycle is None or cycle.response_complete else cycle

    def end(self, cause: Cause) -> None:
        self._metrics.closed[cause].inc()
        wait = self.wait()
        if wait in (Wait.UNREAD, Wait.CLOSING):
            self.transport.abort()
        elif wait is Wait.IDLE or not self.held:
            self.transport.close()
        else:
            self._refuse(_ANSWERS[cause])
        self._connections.release(self)

    def _refuse(self, problem: Problem) -> None:
        """Sends an error response and closes the connection."""
        if cycle := self._unanswered():
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_on_the_wire(problem))
        self.transport.close()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.remove(self)
        self._connections.release_place()

    def data_received(self, data: bytes) -> None:
        self._connections.hold(self, len(data))
        super().data_received(data)
        if self._reading is Wait.HEAD and self.held > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._head_is_too_large()
            self._refuse(_TOO_LARGE)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.since = self.loop.time()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        self._connections.remove(self)  # the place is the WebSocket's now

    # Callbacks of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading, self.since = Wait.HEAD, self.loop.time()

    def on_headers_complete(self) -> None:
        if self.held > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._head_is_too_large()
            raise HeadTooLargeError
        super().on_headers_complete()
        self._reading, self.since = Wait.BODY, self.loop.time()
        extensions: Any = self.scope.setdefault("extensions", {})
        extensions[PROGRESS] = self._progress

    def _progress(self) -> None:
        """A route took a part of the body: it is not held any more, and the client has more time."""
        if self._reading is Wait.BODY:
            self._connections.release(self)
            self.since = self.loop.time()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._reading = Wait.IDLE
        self._connections.release(self)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since = self.loop.time()

    def send_400_response(self, msg: str) -> None:
        """Called when the parser fails; uvicorn's text is replaced by a problem document."""
        del msg
        self._refuse(self._refusal)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _head_is_too_large(self) -> None:
        self._metrics.closed[Cause.HEAD_TOO_LARGE].inc()
        self._refusal = _TOO_LARGE


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A connection that was upgraded to a WebSocket. Its place is released when it ends."""

    held = 0

    def __init__(self, *, connections: Connections, metrics: ConnectionMetrics, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self.since = self.loop.time()
        self._connections = connections
        self._metrics = metrics
        self._closing_seen = False

    def wait(self) -> Wait | None:
        if self.close_sent or self.transport.is_closing():
            if not self._closing_seen:
                self._closing_seen, self.since = True, self.loop.time()
            return Wait.CLOSING
        return None if self.writable.is_set() else Wait.UNREAD

    def end(self, cause: Cause) -> None:
        self._metrics.closed[cause].inc()
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._connections.remove(self)
        self._connections.release_place()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.since = self.loop.time()


def _on_the_wire(problem: Problem) -> bytes:
    """The HTTP/1.1 bytes of an error response that closes the connection."""
    response = problem.response()
    lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}".encode()]
    lines += [name + b": " + value for name, value in response.raw_headers]
    return b"\r\n".join([*lines, b"connection: close", b"", bytes(response.body)])
