"""Attachments by URL: fetched into the store before the send, from allowed addresses, within limits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from services.bridge.files.download import Downloader, DownloadError
from services.bridge.webhooks.destinations import Destinations
from services.kit.database.connect import Database
from services.outbox.files.store import CHUNK, FileStore
from tests import images
from tests.bridge.files.conftest import Client
from tests.bridge.tracking.test_killed import bridge_process
from tests.databases import on_sqlite
from tests.servers import ManualClock, Sandbox, until

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Behaviour:
    """Sends a response; ``length`` is a Content-Length that may be wrong."""

    async def send(writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
        await writer.drain()

    return send


async def endless(writer: asyncio.StreamWriter) -> None:
    """Sends a body without an end."""
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while not writer.is_closing():
        writer.write(bytes(65_536))
        await writer.drain()


async def slow(writer: asyncio.StreamWriter) -> None:
    """Sends a head, a byte, and nothing more."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx")
    await writer.drain()
    await asyncio.Event().wait()


@dataclass
class FileServer:
    """A server with one behaviour for each request, in order; further requests get the last one."""

    url: str = ""
    behaviours: list[Behaviour] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    serving: set[asyncio.Task[None] | None] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A task that only waits for an answer is collected as garbage, unless something refers to it.
        self.serving.add(asyncio.current_task())
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.paths.append(head.split()[1].decode())
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
            await behave(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.serving.discard(asyncio.current_task())
            writer.close()


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    made = FileServer()
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield made
    listening.close()
    for task in tuple(made.serving):
        if task is not None:
            task.cancel()


@pytest.fixture
def store(database: Database, clock: ManualClock) -> FileStore:
    return FileStore(database, clock, max_bytes=2 * CHUNK)


@pytest.fixture
def downloader(store: FileStore) -> Downloader:
    return Downloader(store, Destinations(loopback=True), seconds=5)


async def failure(downloader: Downloader, url: str) -> DownloadError:
    with pytest.raises(DownloadError) as failed:
        await downloader.fetch(url)
    return failed.value


async def test_a_file_is_stored_after_redirects(
    downloader: Downloader, store: FileStore, server: FileServer
) -> None:
    server.behaviours = [
        answer("302 Found", b"", "Location: /files/plot.png?signature=1"),
        answer("200 OK", images.png(8, 8)),
    ]
    stored = await downloader.fetch(f"{server.url}/runs/7/plot")
    assert (stored.media_type, stored.width) == ("image/png", 8)
    assert server.paths == ["/runs/7/plot", "/files/plot.png?signature=1"]
    assert b"".join([chunk async for chunk in store.read(stored.id)]) == images.png(8, 8)


@on_sqlite
@pytest.mark.parametrize(
    ("behaviour", "words", "final"),
    [
        (answer("404 Not Found"), "answered 404", True),
        (answer("503 Service Unavailable"), "answered 503", False),
        (answer("429 Too Many Requests"), "answered 429", False),
        (answer("200 OK"), "no bytes", True),
        (answer("200 OK", b"x" * 10, length=99), "broke the connection off", False),
        (answer("200 OK", length=2 * CHUNK + 1), f"{2 * CHUNK + 1} bytes", True),
        (endless, "MAX_FILE_BYTES", True),
        (answer("302 Found", b"", "Location: /again"), "redirected more than 5 times", True),
        (answer("302 Found", b"", "Location: http://10.0.0.5/x"), "private", True),
        (answer("302 Found", b"", "Location: http://169.254.169.254/latest"), "private", True),
        (answer("302 Found", b"", "Location: file:///etc/passwd"), "http and https", True),
    ],
)
async def test_what_cannot_be_had_is_said_in_words_without_the_url(  # noqa: PLR0917 - fixtures
    downloader: Downloader,
    store: FileStore,
    server: FileServer,
    behaviour: Behaviour,
    words: str,
    final: bool,
) -> None:
    server.behaviours = [behaviour]
    failed = await failure(downloader, f"{server.url}/secret-token")
    assert words in str(failed)
    assert failed.final is final
    assert "secret-token" not in str(failed)
    assert await store.total() == 0


async def test_a_slow_server_has_a_limited_time(store: FileStore, server: FileServer) -> None:
    server.behaviours = [slow]
    failed = await failure(Downloader(store, Destinations(loopback=True), seconds=0.2), server.url)
    assert (str(failed), failed.final) == ("it did not arrive within 0.2 s", False)


async def test_a_server_that_is_not_there_may_come_back(downloader: Downloader) -> None:
    failed = await failure(downloader, "http://127.0.0.1:1/x")
    assert (str(failed), failed.final) == ("its server cannot be reached", False)


@on_sqlite
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254"])
async def test_private_addresses_are_never_called(store: FileStore, server: FileServer, host: str) -> None:
    server.behaviours = [answer("200 OK", b"secret")]
    port = server.url.rpartition(":")[2]
    failed = await failure(Downloader(store, Destinations(), seconds=5), f"http://{host}:{port}/x")
    assert "private" in str(failed)
    assert failed.final
    assert server.paths == []


async def test_an_event_with_a_url_arrives_with_its_file(client: Client, server: FileServer) -> None:
    server.behaviours = [answer("200 OK", images.png(8, 8))]
    url = f"{server.url}/plots/coverage%20of%20May.png?token=x"
    accepted = await client.post({"url": url}, chat_id=[1001, 1002])
    for message_id in accepted["message_ids"]:
        await client.message({"message_ids": [message_id]})
    (shown,) = await client.shown()
    assert (shown["file"]["kind"], shown["content"]) == ("photo", images.png(8, 8))
    assert len(server.paths) == 1


async def test_a_failed_download_is_retried_as_a_failed_send(client: Client, server: FileServer) -> None:
    server.behaviours = [answer("503 Service Unavailable"), answer("200 OK", b"log")]
    message = await client.message(await client.post({"url": f"{server.url}/a.log"}))
    assert [(one["outcome"], one["reason"]) for one in message["attempts"]] == [
        ("not_sent", "file_not_ready"),
        ("sent", "none"),
    ]
    assert not message["possible_duplicate"]
    (shown,) = await client.shown()
    assert (shown["file"]["name"], shown["content"]) == ("a.log", b"log")


async def test_a_crash_during_a_download_marks_no_message_as_a_repetition(
    tmp_path: Path, sandbox: Sandbox, server: FileServer
) -> None:
    server.behaviours = [slow, answer("200 OK", b"log")]
    url = f"sqlite:///{tmp_path / 'crash.db'}"
    event = {"type": "info_notification", "title": "Log", "chat_id": 1001}

    async def is_fetched() -> bool:
        return len(server.paths) == 1

    async with bridge_process(url, tmp_path, sandbox) as (process, http):
        posted = await Client(http, sandbox).post({"url": f"{server.url}/a.log"}, **event)
        await until(is_fetched)
        process.kill()
        await asyncio.to_thread(process.wait, 30)
    async with bridge_process(url, tmp_path, sandbox) as (_, http):
        message = await Client(http, sandbox).message(posted)
    assert [(one["outcome"], one["reason"]) for one in message["attempts"]] == [
        ("not_sent", "file_not_ready"),
        ("sent", "none"),
    ]
    assert not message["possible_duplicate"]


async def test_a_message_goes_out_without_a_file_that_is_not_there(
    client: Client, server: FileServer
) -> None:
    server.behaviours = [answer("404 Not Found")]
    kept = await client.upload(b"kept")
    accepted = await client.post({"url": f"{server.url}/plot.png"}, {"file_id": kept, "filename": "kept.txt"})
    await client.message(accepted)
    (shown,) = await client.shown()
    assert shown["content"] == b"kept"
    assert "plot.png is missing: its server answered 404" in shown["message"]["caption"]
    metrics = (await client.http.get("/metrics")).text
    assert 'cctelegram_file_fetches_total{outcome="failed"} 1.0' in metrics


async def test_a_file_by_url_that_is_no_photo_goes_as_a_document(client: Client, server: FileServer) -> None:
    server.behaviours = [answer("200 OK", b"MZ\x90\0 program")]
    await client.message(await client.post({"url": f"{server.url}/../setup.exe", "kind": "photo"}))
    (shown,) = await client.shown()
    assert (shown["file"]["kind"], shown["file"]["name"]) == ("document", "setup.exe")
