"""A server that answers byte for byte what a test gives it, with or without TLS."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.servers import until

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def writes(*pieces: bytes, then_close: bool = False) -> Answer:
    """Writes the pieces, with a turn of the event loop after each."""

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if then_close:
            writer.close()

    return answer


async def silence(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


@dataclass
class Server:
    """Answers each request by the next of its answers, and every further one by the last."""

    answers: list[Answer] = field(default_factory=lambda: [writes(OK)])
    connections: int = 0
    open: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""
    port: int = 0
    listening: socket.socket = field(init=False)
    handlers: set["asyncio.Task[None]"] = field(default_factory=set)
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def has_read(self, requests: int) -> None:
        """Waits until the server has read so many requests."""

        async def enough() -> bool:
            return len(self.bodies) >= requests

        await until(enough)

    async def is_left(self) -> None:
        """Waits until no connection is open."""

        async def none_open() -> bool:
            return not self.open

        await until(none_open)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.add(asyncio.create_task(self.serve(reader, writer)))
        self.writers.append(writer)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length or 0)))
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.transport.abort()


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A running server; it is at ``localhost``, which a certificate may name."""
    server = Server()
    server.listening = socket.create_server(("127.0.0.1", 0))
    async with await asyncio.start_server(server.accept, sock=server.listening, ssl=tls):
        server.port = server.listening.getsockname()[1]
        server.url = f"{'https' if tls else 'http'}://localhost:{server.port}"
        yield server
        for handler in server.handlers:
            handler.cancel()
        await asyncio.gather(*server.handlers, return_exceptions=True)
        for writer in server.writers:
            writer.transport.abort()
