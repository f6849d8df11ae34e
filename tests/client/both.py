"""Both clients under one interface, for tests that hold for each; and a server that follows a script."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from services.client import AsyncClient, Client
from services.client.retries import Retries

#: Retries of tests wait for milliseconds.
QUICK = Retries(patience=20, first=0.01, longest=0.05)


class Either:
    """A client; its methods are awaited, and iterations are asynchronous, whichever it is."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self.client = client

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        method = getattr(self.client, name)

        async def called(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self.client, AsyncClient):
                return await method(*args, **kwargs)
            return await asyncio.to_thread(method, *args, **kwargs)

        return called

    async def items(self, name: str, *args: Any, **kwargs: Any) -> AsyncGenerator[Any, None]:
        """The items of an iteration."""
        iteration = getattr(self.client, name)(*args, **kwargs)
        end = object()
        try:
            while True:
                if isinstance(self.client, AsyncClient):
                    item = await anext(iteration, end)
                else:
                    item = await asyncio.to_thread(next, iteration, end)
                if item is end:
                    return
                yield item
        finally:
            if isinstance(self.client, AsyncClient):
                await iteration.aclose()
            else:
                iteration.close()


@asynccontextmanager
async def either(kind: str, url: str, key: str, **more: Any) -> AsyncIterator[Either]:
    """A client of one kind, ``Client`` or ``AsyncClient``, whose retries are quick."""
    client = AsyncClient(url, key, **more) if kind == "AsyncClient" else Client(url, key, **more)
    client.site = replace(client.site, retries=replace(QUICK, patience=client.site.retries.patience))
    try:
        yield Either(client)
    finally:
        if isinstance(client, AsyncClient):
            await client.close()
        else:
            client.close()


@dataclass
class Scripted:
    """A server that answers each request with the next of its answers; the last one again and again.

    Args:
        answers: whole HTTP answers; empty bytes: the connection is closed without an answer.
        requests: what was received.
    """

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        self.requests.append(head + await reader.readexactly(length))
        writer.write(self.answers[min(len(self.requests), len(self.answers)) - 1])
        await writer.drain()
        writer.close()


def http(status: int, body: str, *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body.encode())}", "Connection: close", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


@asynccontextmanager
async def scripted(*answers: bytes) -> AsyncIterator[Scripted]:
    script = Scripted(list(answers))
    server = await asyncio.start_server(script.answer, "127.0.0.1", 0)
    async with server:
        script.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield script
