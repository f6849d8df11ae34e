"""An HTTP/1.1 client for many small requests to one server, made for what each of them costs.

It does what the Bot API needs and no more: keep-alive, TLS, answers with a length, in chunks or up to
the close. No redirects, cookies, proxies or compression. Whatever goes wrong on a connection, it is
never used again; a request is never repeated, for nobody knows what became of the first one.
"""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import quote, unquote, urlsplit

import aiohappyeyeballs
import httptools

CONNECT_SECONDS = 10.0
#: A connection that was idle for longer is not trusted with a request: its server may be about to close it.
IDLE_SECONDS = 30.0
#: The next address is tried after this, while the first one is still silent (RFC 8305).
NEXT_ADDRESS_SECONDS = 0.25
_FIRST_FINAL_STATUS = 200
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})


class NotReachedError(Exception):
    """No byte of the request left."""


class NoAnswerError(Exception):
    """The request left, or a part of it; no whole answer came."""


class Client:
    """Connections to one server.

    Args:
        origin: ``http://host:port`` or ``https://host``, also with ``user:password@``; a path says nothing.
        connections: at most; more requests wait for one in their order.
    """

    def __init__(self, origin: str, connections: int) -> None:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"neither http:// nor https://: {origin!r}")
        self._host = parts.hostname
        user, _, self._netloc = parts.netloc.rpartition("@")
        self._basic = b64encode(unquote(user).encode()).decode() if user else ""
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._port = parts.port or (443 if self._tls else 80)
        self._room = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []
        self._closed = False

    def head(self, method: str, target: str, content_type: str = "") -> bytes:
        """The request up to the length of its body, which :meth:`ask` adds; worth keeping.

        Args:
            method: e.g. ``POST``.
            target: path and query.
            content_type: of the body.
        """
        lines = [f"{method} {quote(target, safe=_KEPT)} HTTP/1.1", f"Host: {self._netloc}"]
        if self._basic:
            lines.append(f"Authorization: Basic {self._basic}")
        if content_type:
            lines.append(f"Content-Type: {content_type}")
        return "\r\n".join([*lines, "Content-Length: "]).encode("ascii")

    async def ask(self, head: bytes, body: bytes, read_seconds: float) -> tuple[int, bytes]:
        """Sends a request; answers with the status and the whole body.

        Args:
            head: of :meth:`head`.
            body: may be empty.
            read_seconds: that may pass without a byte going either way.

        Raises:
            NotReachedError: nothing left.
            NoAnswerError: nobody knows what the server did.
        """
        async with self._room:
            connection = self._taken() or await self._opened()
            answer = await connection.ask(b"%b%d\r\n\r\n%b" % (head, len(body), body), read_seconds)
            self._give_back(connection)
            return answer

    async def close(self) -> None:
        """Closes what is idle; what is under way is closed when it ends."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
        await asyncio.sleep(0)  # the loop tells the connections of their end

    def _taken(self) -> "_Connection | None":
        """The connection that was used last, for it is the least likely to be closed by its server."""
        while self._idle:
            connection = self._idle.pop()
            if connection.is_fresh():
                return connection
            connection.close()
        return None

    def _give_back(self, connection: "_Connection") -> None:
        if self._closed or not connection.reusable:
            connection.close()
        else:
            self._idle.append(connection)

    async def _opened(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                plain = await aiohappyeyeballs.start_connection(
                    found, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS
                )
                with _closed_on_failure(plain):
                    connection: _Connection
                    _, connection = await loop.create_connection(
                        lambda: _Connection(loop),
                        sock=plain,
                        ssl=self._tls,
                        server_hostname=self._host if self._tls else None,
                    )
        except TimeoutError as error:
            raise NotReachedError(f"no connection within {CONNECT_SECONDS:g} s") from error
        except OSError as error:
            raise NotReachedError(str(error)) from error
        return connection


#: What a request target may hold as it is; anything else is written as %XX.
_KEPT = "/:?#[]@!$&'()*+,;=%~"


@contextmanager
def _closed_on_failure(plain: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        plain.close()
        raise


class _Connection(asyncio.Protocol):
    """One connection, with one request at a time on it."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._pieces: list[bytes] = []
        #: Whether the answer says where it ends; else its end is the connection's.
        self._framed = False
        self._has_head = False
        self.reusable = True
        #: When a byte last went either way, and how long the next may take.
        self._moved_at = 0.0
        self._patience = 0.0
        self._unwritten = 0
        # Left to run when the answer comes, and looked at when it is due: setting one for each request
        # would cost more than it does.
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    async def ask(self, request: bytes, read_seconds: float) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()
        self._answer = answer
        self._moved_at, self._patience, self._unwritten = self._loop.time(), read_seconds, 0
        self._watch(self._moved_at + read_seconds)
        self._transport.write(request)
        try:
            return await answer
        except BaseException:
            self.close()
            raise

    def is_fresh(self) -> bool:
        """Whether it may be trusted with another request."""
        idle = self._loop.time() - self._moved_at
        return self.reusable and idle < IDLE_SECONDS and not self._transport.is_closing()

    def close(self) -> None:
        self.reusable = False
        self._transport.abort()

    # asyncio's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's own are registered nowhere: no isinstance() knows them.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._moved_at = self._loop.time()
        if self._answer is None:  # nobody asked
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"no HTTP: {error}")
        if not self.reusable:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._timer is not None:
            self._timer.cancel()
        if self._has_head and not self._framed:
            self.on_message_complete()
        self._fail(str(error) if error else "the connection was closed before the answer was whole")

    # httptools'

    def on_message_begin(self) -> None:
        self._pieces, self._framed, self._has_head = [], False, False
        if self._answer is None:  # an answer more than there were requests
            self.reusable = False

    def on_header(self, name: bytes, _value: bytes) -> None:
        if name.lower() in _FRAMING:
            self._framed = True

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._has_head = False
        if status < _FIRST_FINAL_STATUS or self._answer is None:  # e.g. 103: the answer is still to come
            return
        answer, self._answer = self._answer, None
        self.reusable = self.reusable and self._parser.should_keep_alive()
        if not answer.done():
            answer.set_result((status, b"".join(self._pieces)))

    def _fail(self, said: str) -> None:
        self.reusable = False
        answer, self._answer = self._answer, None
        if answer is not None and not answer.done():
            answer.set_exception(NoAnswerError(said))

    def _watch(self, due: float) -> None:
        if self._timer is not None:
            if self._timer_at <= due:
                return
            self._timer.cancel()
        self._timer = self._loop.call_at(due, self._look)
        self._timer_at = due

    def _look(self) -> None:
        self._timer = None
        if self._answer is None:
            return
        now, unwritten = self._loop.time(), self._transport.get_write_buffer_size()
        if unwritten != self._unwritten:  # a part of it has left since
            self._moved_at, self._unwritten = now, unwritten
        if now >= self._moved_at + self._patience:
            self._fail(f"no answer within {self._patience:g} s")
        else:
            self._watch(self._moved_at + self._patience)
