"""Clients without a key send half of a request, 1,500 at a time, to a suite that may open 1,024 files."""

import asyncio
import itertools
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests import servers
from tests.e2e.suite import PORTS, Suite, sandbox_program
from tests.servers import Sandbox, until

HALVES = {
    "head": b"GET /health/live HTTP/1.1\r\nHost: x\r\n",
    "body": b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
    "nothing": b"",
    # No half, but an answer without an end, of the sandbox.
    "stream": b"GET /api/stream HTTP/1.1\r\nHost: x\r\n\r\n",
}
CROWD = 1_500
OPEN_FILES = 1_024


@pytest.fixture(scope="module", autouse=True)
def _many_files() -> Iterator[None]:
    """This process opens the other ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * CROWD)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def crowd(port: int, sent: bytes) -> AsyncIterator[None]:
    made = []
    try:
        for _ in range(CROWD):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            made.append(writer)
            writer.write(sent)
        yield
    finally:
        for writer in made:
            writer.transport.abort()


async def delivered(client: httpx.AsyncClient, sandbox: Sandbox, title: str) -> None:
    posted = await client.post("/events", json={"type": "custom_event", "title": title, "chat_id": 1001})
    assert posted.status_code == 202, posted.text

    async def arrived() -> bool:
        return any(title in text for text in await sandbox.texts(1001))

    await until(arrived)


async def test_half_requests_at_every_port_keep_no_good_client_out(tmp_path: Path) -> None:
    async with sandbox_program(tmp_path / "sandbox") as sandbox:
        suite = Suite(tmp_path / "suite", sandbox)
        async with suite.running(OPEN_FILES) as (program, client):
            for name, (half, sent) in itertools.product(PORTS, HALVES.items()):
                url = f"http://127.0.0.1:{suite.ports[name]}"
                async with crowd(suite.ports[name], sent), servers.http(url) as good:
                    for _ in range(3):  # also when it keeps its connection
                        assert (await good.get("/health/live")).status_code == 200
                    await delivered(client, sandbox, f"{name} is full of {half}")
            assert program.process.returncode is None
            words = program.words.read_text(encoding="utf-8")
            assert "Too many open files" not in words
