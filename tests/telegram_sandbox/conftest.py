"""A real sandbox on a free port, with a clock that only the test advances."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from fastapi import FastAPI
from telegram import Bot

from services.kit.runner import running
from services.telegram_sandbox.app import create_app
from services.telegram_sandbox.clock import SandboxClock
from services.telegram_sandbox.settings import DEFAULT_TOKEN, SandboxSettings
from services.telegram_sandbox.state.sandbox import Sandbox

ADA, GRACE, TEAM, OPERATIONS = 1001, 1002, -2001, -1001000000001
CI_TOPIC = 7
NOON = 1_800_000_000.0


@dataclass
class SandboxServer:
    """A running sandbox: its URL, its state, and an HTTP client."""

    url: str
    sandbox: Sandbox
    http: aiohttp.ClientSession

    def bot(self, token: str = DEFAULT_TOKEN) -> Bot:
        return Bot(token, base_url=f"{self.url}/bot", base_file_url=f"{self.url}/file/bot")

    async def call(self, method: str, token: str = DEFAULT_TOKEN, **fields: Any) -> dict[str, Any]:
        """Makes a Bot API call with a JSON body; returns the whole answer."""
        async with self.http.post(f"{self.url}/bot{token}/{method}", json=fields) as answer:
            body: dict[str, Any] = await answer.json()
            assert body["ok"] == (answer.status == 200)
            return body

    async def result(self, method: str, **fields: Any) -> Any:
        body = await self.call(method, **fields)
        assert body["ok"], body
        return body["result"]

    async def refusal(self, method: str, **fields: Any) -> tuple[int, str]:
        body = await self.call(method, **fields)
        assert not body["ok"], body
        return body["error_code"], body["description"]

    async def control(
        self, path: str, body: Any = None, *, verb: str = "POST", status: int | None = None
    ) -> Any:
        async with self.http.request(verb, f"{self.url}/control{path}", json=body) as answer:
            value = await answer.json() if answer.status != 204 else None
            assert answer.status == status if status else answer.ok, (answer.status, value)
            return value

    async def get(self, path: str) -> Any:
        async with self.http.get(self.url + path) as answer:
            assert answer.ok, answer.status
            return await answer.json()

    async def advance(self, seconds: float) -> None:
        await self.control("/clock/advance", {"seconds": seconds})

    async def log(self, cursor: int = 0, **kinds: str) -> list[dict[str, Any]]:
        """Returns the log entries that have all the given values."""
        async with self.http.get(f"{self.url}/control/log?limit=10000&cursor={cursor}") as answer:
            entries = [orjson.loads(line) async for line in answer.content]
        return [e for e in entries if all(e.get(name) == value for name, value in kinds.items())]


@pytest.fixture(autouse=True)
def _durations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes python-telegram-bot's RetryAfter a timedelta, as in its next version."""
    monkeypatch.setenv("PTB_TIMEDELTA", "true")


@pytest.fixture
def settings(tmp_path: Path) -> SandboxSettings:
    return SandboxSettings(port=0, data_dir=tmp_path, sandbox_limits=False, log_level="ERROR")


@asynccontextmanager
async def started(settings: SandboxSettings, now: float | None = NOON) -> AsyncIterator[SandboxServer]:
    """Runs a sandbox; with `now` None its clock runs."""
    clock = SandboxClock(lambda: now) if now is not None else SandboxClock()

    def make(own: SandboxSettings) -> FastAPI:
        return create_app(own, clock)

    make.__module__ = create_app.__module__  # the runner names the service by it
    async with running(make, settings) as service, aiohttp.ClientSession() as http:
        yield SandboxServer(service.url, service.app.state.sandbox, http)


@pytest.fixture
async def server(settings: SandboxSettings) -> AsyncIterator[SandboxServer]:
    async with started(settings) as sandbox:
        yield sandbox


@pytest.fixture
async def bot(server: SandboxServer) -> AsyncIterator[Bot]:
    async with server.bot() as ready:
        yield ready


async def until(holds: Callable[[], object]) -> None:
    """Waits for a condition, at most five seconds."""
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 # the condition is state, there is no event to wait for
            await asyncio.sleep(0.002)


async def soon(what: Awaitable[Any]) -> Any:
    async with asyncio.timeout(5):
        return await what
