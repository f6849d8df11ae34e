"""Proxies for tests: an HTTP proxy that understands CONNECT, and a SOCKS5 server (RFC 1928, RFC 1929)."""

import asyncio
import ssl
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
#: Speaks the proxy's protocol with a client; returns the destination, or None when it refused.
Handshake = Callable[["ProxyServer", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[str | None]]


@dataclass
class ProxyServer:
    """A running proxy, and what it was asked for."""

    handshake: Handshake
    #: ``user:password``; empty: everybody may use it.
    credentials: str = ""
    #: Where all destinations are led to, ``host:port``; empty: where they say.
    redirect: str = ""
    #: Of an HTTP proxy, instead of a tunnel: the status line and headers.
    refusal: bytes = b""
    port: int = 0
    #: Destinations of the tunnels that were opened.
    opened: list[str] = field(default_factory=list)
    #: Whether the credentials of each client were right.
    admitted: list[bool] = field(default_factory=list)
    tasks: set["asyncio.Task[None]"] = field(default_factory=set)

    def admits(self, credentials: str) -> bool:
        self.admitted.append(credentials == self.credentials)
        return self.admitted[-1]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.tasks.add(asyncio.create_task(self._serve(reader, writer)))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                destination = await self.handshake(self, reader, writer)
                if destination is not None:
                    self.opened.append(destination)
                    host, _, port = (self.redirect or destination).rpartition(":")
                    await _tunnel(
                        (reader, writer), await asyncio.open_connection(host.strip("[]"), int(port))
                    )
        finally:
            writer.close()


async def _tunnel(client: Streams, server: Streams) -> None:
    """Copies bytes both ways until one side ends."""
    ways = [
        asyncio.create_task(_copy(source, sink))
        for source, sink in ((client[0], server[1]), (server[0], client[1]))
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        server[1].close()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while piece := await source.read(65_536):
        sink.write(piece)
        await sink.drain()


async def http_connect(
    proxy: ProxyServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    method, target, _ = head.split("\r\n", 1)[0].split(" ")
    assert method == "CONNECT", head
    given = head.partition("Proxy-Authorization: Basic ")[2].partition("\r\n")[0]
    answer = proxy.refusal
    if not answer and not proxy.admits(b64decode(given).decode()):
        # As some do: with a page, and with what it was given.
        answer = (
            b"HTTP/1.1 407 Proxy Authentication Required %b\r\nContent-Length: 2\r\n\r\nno" % given.encode()
        )
    writer.write(answer or b"HTTP/1.1 200 Connection established\r\n\r\n")
    await writer.drain()
    return None if answer else target


async def socks5(
    proxy: ProxyServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> str | None:
    version, count = await reader.readexactly(2)
    assert version == 5
    methods = await reader.readexactly(count)
    chosen = 2 if proxy.credentials else 0
    if chosen not in methods:
        writer.write(b"\x05\xff")
        return None
    writer.write(bytes([5, chosen]))
    if chosen and not await _password(proxy, reader, writer):
        return None
    _, command, _, kind = await reader.readexactly(4)
    assert command == 1
    assert kind == 3, "the proxy is to look the name up"
    host = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    port = int.from_bytes(await reader.readexactly(2), "big")
    reply = 5 if proxy.refusal else 0
    writer.write(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
    return None if reply else f"{host}:{port}"


async def _password(proxy: ProxyServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    await reader.readexactly(1)
    user = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    password = (await reader.readexactly((await reader.readexactly(1))[0])).decode()
    right = proxy.admits(f"{user}:{password}")
    writer.write(bytes([1, 0 if right else 1]))
    await writer.drain()
    return right


@asynccontextmanager
async def running(
    handshake: Handshake, credentials: str = "", tls: ssl.SSLContext | None = None
) -> AsyncIterator[ProxyServer]:
    """A proxy on loopback for the length of a block.

    Args:
        handshake: :func:`http_connect` or :func:`socks5`.
        credentials: ``user:password`` that it asks for; empty: none.
        tls: makes it an ``https://`` proxy.
    """
    proxy = ProxyServer(handshake, credentials)
    async with await asyncio.start_server(proxy.accept, "127.0.0.1", 0, ssl=tls) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy
        for task in proxy.tasks:
            task.cancel()
        await asyncio.gather(*proxy.tasks, return_exceptions=True)
