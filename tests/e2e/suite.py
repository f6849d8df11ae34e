"""The programs as a person starts them, each a process of its own."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests import servers
from tests.ports import free_port
from tests.servers import KEY, Sandbox, until

ROOT = Path(__file__).parents[2]
#: Limits of our own off: the tests measure what is lost and repeated, not how fast.
NO_LIMITS = {
    "TELEGRAM_BOT_PER_SECOND": "0",
    "TELEGRAM_CHAT_PER_SECOND": "0",
    "TELEGRAM_GROUP_PER_MINUTE": "0",
    "RETRY_BASE_SECONDS": "0.05",
    "RATE_LIMIT_PER_SECOND": "0",
}
PORTS = ("BRIDGE_PORT", "MCP_HEALTH_PORT", "ALERT_RELAY_PORT", "MONITORING_SERVER_PORT", "SANDBOX_PORT")


class Program:
    """A running process; its words are in a file."""

    def __init__(self, process: asyncio.subprocess.Process, words: Path) -> None:
        self.process = process
        self.words = words

    async def end(self, number: signal.Signals) -> int:
        """Sends a signal and waits for the end."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.process.wait()


@asynccontextmanager
async def program(
    module: str, folder: Path, url: str, open_files: int = 0, /, **environment: str
) -> AsyncIterator[Program]:
    """``python -m module``, once it answers at the URL; killed at the end if it still runs.

    Args:
        module: of the program.
        folder: of its data.
        url: of its service.
        open_files: its limit of open files; 0: that of the tests.
        environment: further variables.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    words = folder / f"{module}.txt"
    process = await asyncio.create_subprocess_exec(
        "/bin/sh",
        "-c",
        f'{f"ulimit -n {open_files} && " if open_files else ""}exec "$0" -m "$1"',
        sys.executable,
        module,
        cwd=ROOT,
        env=kept | {"DATA_DIR": str(folder), "API_KEY": KEY} | environment,
        stdout=(output := os.open(words, os.O_WRONLY | os.O_CREAT | os.O_APPEND)),
        stderr=output,
    )
    os.close(output)
    running = Program(process, words)
    try:
        await until(lambda: _answers(running, url))
        yield running
    finally:
        await running.end(signal.SIGKILL)


async def _answers(running: Program, url: str) -> bool:
    if running.process.returncode is not None:
        raise RuntimeError(running.words.read_text(encoding="utf-8"))
    try:
        async with servers.http(timeout=5) as client:
            return (await client.get(f"{url}/health/live")).status_code == 200
    except httpx.TransportError:
        return False


@asynccontextmanager
async def sandbox_program(folder: Path) -> AsyncIterator[Sandbox]:
    """A sandbox that survives whatever is done to the suite."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"SANDBOX_PORT": str(port), "SANDBOX_LIMITS": "false"}
    async with program("services.telegram_sandbox", folder, url, **environment), Sandbox(url) as sandbox:
        yield sandbox


class Suite:
    """``python -m services`` on one data folder, to be started again and again at the same ports."""

    def __init__(self, folder: Path, sandbox: Sandbox, **environment: str) -> None:
        self.ports = {name: free_port() for name in PORTS}
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.ports['BRIDGE_PORT']}"
        self.environment = (
            NO_LIMITS
            | {name: str(port) for name, port in self.ports.items()}
            | {"TELEGRAM_API_URL": sandbox.url}
            | environment
        )

    @asynccontextmanager
    async def running(self, open_files: int = 0) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
        async with (
            program("services", self.folder, self.url, open_files, **self.environment) as running,
            servers.http(self.url, key=KEY) as client,
        ):
            yield running, client


def report(line: str) -> None:
    """Writes a line of numbers; pytest shows it with ``-rP``."""
    sys.stdout.write(f"{line}\n")


async def post_to_each(client: httpx.AsyncClient, chats: range) -> dict[str, int]:
    """One event for each chat, its number as title; answers message id → chat."""
    accepted: dict[str, int] = {}
    for begin in range(chats.start, chats.stop, 250):
        some = range(begin, min(begin + 250, chats.stop))
        batch = [{"type": "custom_event", "title": f"event {n}", "chat_id": n} for n in some]
        answer = await client.post("/events", json=batch)
        assert answer.status_code == 202, answer.text
        for chat_id, taken in zip(some, answer.json()["accepted"], strict=True):
            accepted[taken["message_ids"][0]] = chat_id
    return accepted


async def finished(client: httpx.AsyncClient, number: int) -> dict[str, Any]:
    """The stats once so many messages are out of the queue."""

    async def empty() -> Any:
        stats = (await client.get("/api/v1/stats")).json()
        queue = stats["queue"]
        waiting = queue and sum(queue[state] for state in ("queued", "sending", "retry_wait"))
        return stats if waiting == 0 else None

    stats: dict[str, Any] = await until(empty, patience=60)
    return stats


async def lives(client: httpx.AsyncClient, message_ids: list[str]) -> list[dict[str, Any]]:
    return [(await client.get(f"/api/v1/messages/{one}")).json() for one in message_ids]
