"""A file of 49 MB: it survives kill -9 before and during its send, and memory does not grow with it."""

import hashlib
import random
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import servers
from tests.e2e.suite import NO_LIMITS, Program, program, sandbox_program
from tests.ports import free_port
from tests.servers import KEY, Sandbox, until

ADA = 1001
SIZE = 49 << 20
#: More than what one upload and one send need at once, and less than the file.
MOST_GROWTH = 40 << 20


@pytest.fixture
async def telegram(tmp_path: Path) -> AsyncIterator[Sandbox]:
    async with sandbox_program(tmp_path / "telegram") as sandbox:
        yield sandbox


@pytest.fixture
def content() -> bytes:
    return random.Random(7).randbytes(SIZE)  # noqa: S311 - not for secrets


@asynccontextmanager
async def bridge(folder: Path, telegram: Sandbox) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = NO_LIMITS | {"BRIDGE_PORT": str(port), "TELEGRAM_API_URL": telegram.url}
    async with (
        program("services.bridge", folder, url, 0, **environment) as running,
        servers.http(url, key=KEY, timeout=60) as client,
    ):
        yield running, client


async def post(client: httpx.AsyncClient, content: bytes, **event: Any) -> str:
    """The id of the message of an event with this file."""
    uploaded = await client.post("/api/v1/files", content=content)
    assert uploaded.status_code == 201, uploaded.text
    body = {
        "type": "info_notification",
        "title": "Nightly dump",
        "chat_id": ADA,
        "attachments": [{"file_id": uploaded.json()["id"], "filename": "dump.bin"}],
    }
    answer = await client.post("/api/v1/events", json=body | event)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["message_ids"][0])


async def until_state(client: httpx.AsyncClient, message_id: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = (await client.get(f"/api/v1/messages/{message_id}")).json()
        return dict(found) if found["status"] == state else None

    found = await until(look, patience=60)
    assert found is not None
    return found


async def files_of(telegram: Sandbox) -> list[str]:
    """The SHA-256 of each file in the chat."""
    page = (await telegram.client.get(f"/api/chats/{ADA}/messages")).json()
    urls = [one["file"]["url"] for one in page["messages"] if one["file"] is not None]
    return [hashlib.sha256((await telegram.client.get(url)).content).hexdigest() for url in urls]


@pytest.mark.timeout(240)
async def test_a_file_of_49_mb_is_delivered_whole_after_a_kill_before_and_one_during_its_send(
    telegram: Sandbox, tmp_path: Path, content: bytes
) -> None:
    async with bridge(tmp_path / "data", telegram) as (process, client):
        message_id = await post(client, content, deliver_at="3s")
        await process.end(signal.SIGKILL)
    assert await files_of(telegram) == []
    await telegram.faults({"kind": "hang", "seconds": 60, "methods": ["sendDocument"]})
    async with bridge(tmp_path / "data", telegram) as (process, client):
        await until_state(client, message_id, "sending")
        await process.end(signal.SIGKILL)
    await telegram.no_faults()
    async with bridge(tmp_path / "data", telegram) as (_, client):
        delivered = await until_state(client, message_id, "delivered")
        assert delivered["possible_duplicate"]
        assert [one["reason"] for one in delivered["attempts"]] == ["worker_lost", "none"]
    assert await files_of(telegram) == [hashlib.sha256(content).hexdigest()]


@pytest.mark.timeout(240)
async def test_the_memory_of_the_bridge_does_not_grow_with_a_file(
    telegram: Sandbox, tmp_path: Path, content: bytes
) -> None:
    async with bridge(tmp_path / "data", telegram) as (process, client):
        peaks = []
        for one in (content[:1_000], content):
            await until_state(client, await post(client, one), "delivered")
            peaks.append(_peak(process))
    assert peaks[1] - peaks[0] < MOST_GROWTH, peaks
    assert len(await files_of(telegram)) == 2


def _peak(of: Program) -> int:
    """The largest resident memory that a process has had, bytes."""
    status = Path(f"/proc/{of.process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10
