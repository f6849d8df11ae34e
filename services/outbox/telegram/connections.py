"""Connections to a Bot API server, direct or through a proxy.

Every failure here is a :class:`NotReachedError`: as long as a call waits for a connection, or opens one,
nothing of its request has left this machine.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

import aiohttp
import aiohttp_socks
from aiohttp.connector import Connection
from yarl import URL

from services.kit.logs import redact
from services.outbox.telegram.errors import NotReachedError
from services.outbox.telegram.proxy import Proxy

#: Longest wait for a connection: for a free one, name lookup, TCP, the proxy and TLS together.
CONNECT_SECONDS = 10.0
#: A connection that was idle for longer is not used again: its server may be about to close it.
IDLE_SECONDS = 30.0

#: The limit of the current task's request, and its seconds; it starts with the connection.
_limit: ContextVar[tuple[asyncio.Timeout, float] | None] = ContextVar("_limit", default=None)


@asynccontextmanager
async def limited_from_connection(seconds: float) -> AsyncIterator[None]:
    """Limits the block's request from when its connection is there: sending, and the whole answer.

    Raises:
        TimeoutError: the time is over.
    """
    async with asyncio.timeout(None) as limit:
        token = _limit.set((limit, seconds))
        try:
            yield
        finally:
            _limit.reset(token)


def _start_limit() -> None:
    if (limited := _limit.get()) is not None:
        limit, seconds = limited
        limit.reschedule(asyncio.get_running_loop().time() + seconds)


class DirectConnector(aiohttp.TCPConnector):
    """A pool of connections that raises :class:`NotReachedError` for every failure to get one."""

    async def connect(self, *args: Any, **options: Any) -> Connection:
        """Takes a connection from the pool, or opens one.

        Raises:
            NotReachedError: no connection could be had.
        """
        for _ in range(self.limit + 1):
            try:
                connection = await super().connect(*args, **options)
            # Any exception: whatever failed, the request has not left.
            except Exception as error:
                raise NotReachedError(redact(self.reason(error))) from error
            if connection.protocol is None or not connection.protocol.should_close:
                _start_limit()
                return connection
            # It holds unread data of the server, which aiohttp would read as the answer to this request.
            connection.close()
        raise NotReachedError("the server sends data without a request")

    def reason(self, error: Exception) -> str:
        """Why no connection could be had, in one line."""
        if isinstance(error, TimeoutError):
            return f"no connection within {CONNECT_SECONDS:g} s"
        return str(error) or type(error).__name__


class ProxiedConnector(DirectConnector, aiohttp_socks.ProxyConnector):
    """A pool of connections through a proxy: HTTP CONNECT or SOCKS5, with and without TLS to the server."""

    def __init__(self, proxy: Proxy, **options: Any) -> None:
        super().__init__(
            proxy_type=aiohttp_socks.ProxyType.SOCKS5
            if proxy.scheme == "socks5"
            else aiohttp_socks.ProxyType.HTTP,
            host=proxy.host,
            port=proxy.port,
            username=proxy.user or None,
            password=proxy.password or None,
            rdns=True,
            proxy_ssl=ssl.create_default_context() if proxy.scheme == "https" else None,
            **options,
        )
        self._proxy = proxy

    def reason(self, error: Exception) -> str:
        """The reason with the proxy's address, without its credentials."""
        return f"proxy {self._proxy}: {self._refusal(error)}"

    def _refusal(self, error: Exception) -> str:
        if not isinstance(error, aiohttp_socks.ProxyError) or self._proxy.scheme == "socks5":
            return super().reason(error)
        # The status alone: the proxy's text could contain the password.
        if error.error_code is None:
            return "it does not answer as an HTTP proxy"
        known = {status.value: status.phrase for status in HTTPStatus}
        return f"it answered {error.error_code} {known.get(error.error_code, '')}".rstrip()


def connector(server: URL, connections: int, proxy: Proxy | None) -> DirectConnector:
    """A pool of connections.

    Args:
        server: the Bot API server; with ``https`` its certificate is checked.
        connections: most connections at once; further requests wait for a free one.
        proxy: None: connects directly. HTTP_PROXY and the like are ignored.
    """
    options: dict[str, Any] = {"limit": connections, "keepalive_timeout": IDLE_SECONDS}
    if server.scheme == "https":
        options["ssl"] = ssl.create_default_context()
    return DirectConnector(**options) if proxy is None else ProxiedConnector(proxy, **options)
