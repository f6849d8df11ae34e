"""A Bot API server that answers each call as a test decides, byte for byte."""

import asyncio
import itertools
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.servers import BOT_ID

#: The answer to a call of a method with these parameters; None: as Telegram would.
Decide = Callable[[str, Mapping[str, Any]], "Reply | None"]


@dataclass(frozen=True)
class Reply:
    """An answer: bytes that are written, and what follows.

    Args:
        content: the whole HTTP response, or its beginning.
        drip: written again and again until the client leaves.
        holds: whether nothing follows, and the connection stays open until the client leaves.
    """

    content: bytes
    drip: bytes = b""
    holds: bool = False


def http(status: int, body: bytes | str) -> Reply:
    """A whole HTTP response."""
    content = body.encode() if isinstance(body, str) else body
    return Reply(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(content), content))


def ok(result: Any) -> Reply:
    return http(200, json.dumps({"ok": True, "result": result}))


@dataclass
class OddServer:
    """Answers as ``decide`` says, and else as Telegram does: messages get ids, and no update waits."""

    decide: Decide = lambda _method, _data: None
    url: str = ""
    calls: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    #: (chat, text) of the messages that got a good answer.
    taken: list[tuple[int, str]] = field(default_factory=list)
    _ids: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    handlers: set["asyncio.Task[None]"] = field(default_factory=set)

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.handlers.add(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                body = await reader.readexactly(int(length or 0))
                method = head.split(b" ")[1].decode().rpartition("/")[2]
                data: dict[str, Any] = json.loads(body) if body.startswith(b"{") else {}
                self.calls.append((method, data))
                reply = self.decide(method, data) or self.usual(method, data)
                await self.reply(reply, writer)
                if reply.holds:
                    await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def reply(self, reply: Reply, writer: asyncio.StreamWriter) -> None:
        writer.write(reply.content)
        await writer.drain()
        while reply.drip and not writer.is_closing():
            writer.write(reply.drip)
            await writer.drain()
            await asyncio.sleep(0.01)  # the slowness is what is tested

    def usual(self, method: str, data: Mapping[str, Any]) -> Reply:
        if method.startswith(("send", "edit")):
            self.taken.append((int(data["chat_id"]), str(data["text"])))
            return ok({"message_id": next(self._ids)})
        if method == "getMe":
            return ok({"id": BOT_ID, "is_bot": True, "username": "the_bot"})
        if method == "getUpdates" and data["timeout"]:
            return Reply(b"", holds=True)
        return ok([] if method == "getUpdates" else True)


@asynccontextmanager
async def running() -> AsyncIterator[OddServer]:
    server = OddServer()
    listening = socket.create_server(("127.0.0.1", 0))
    async with await asyncio.start_server(server.accept, sock=listening):
        server.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        yield server
        for handler in server.handlers:
            handler.cancel()
        await asyncio.gather(*server.handlers, return_exceptions=True)
