"""The bridge of benchmarks.telemetry, its load, and the CPU that the load takes in the bridge's process."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson
import uvloop

from benchmarks import filling
from benchmarks.programs import FIRST_CHAT, KEY, Bench, Program, concurrently, make_chats

CONCURRENCY = 32
CHATS = 1_000
#: As prometheus/prometheus.yml sets it for the bridge.
SCRAPE_SECONDS = 5.0
SCRAPE_HEADERS = {"Accept": "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"}

#: Parts of the telemetry, as benchmarks.switched names them.
ALL = "metrics+logs+spans+export"
NONE = "none"
Post = Callable[[int], Coroutine[Any, Any, None]]


@dataclass
class SwitchedBridge:
    """A bridge whose telemetry is switched, with a sandbox to itself: one bot has one reader of updates."""

    bench: Bench
    name: str
    program: Program
    since_scrape: float = 0.0

    @classmethod
    def start(cls, bench: Bench, receiver: Program, name: str) -> "SwitchedBridge":
        sandbox = bench.sandbox(f"sandbox-{name}")
        make_chats(sandbox, CHATS)
        program = bench.bridge(
            sandbox.url, name, module=("benchmarks.switched",), OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url
        )
        return cls(bench, name, program)

    def switch(self, parts: str) -> None:
        """Switches these parts on and all others off, after the receiver has all spans.

        Raises:
            SystemExit: the receiver did not take the spans.
        """
        flushed = self.program.client.post(f"/switch/{parts}").raise_for_status().json()
        if not flushed:
            raise SystemExit("The receiver did not take the spans.")

    def cost(self, parts: str, messages: int) -> float:
        """CPU microseconds per message at full speed, from the request until its spans are exported."""
        self.switch(parts)
        delivered, cpu, start = self.delivered(), self.program.cpu_seconds(), time.monotonic()
        uvloop.run(_post_fast(self.program.url, messages))
        self._wait_for(delivered + messages)
        if "metrics" in parts:
            self.since_scrape += time.monotonic() - start
            while self.since_scrape >= SCRAPE_SECONDS:
                self.since_scrape -= SCRAPE_SECONDS
                self.scrape()
        self.switch(parts)
        return 1e6 * (self.program.cpu_seconds() - cpu) / messages

    def load(self, parts: str, seconds: float, per_second: int, scrape_seconds: float) -> float:
        """Percent of one core that the bridge takes at a constant rate.

        Args:
            parts: that are on.
            seconds: that messages are posted; a multiple of scrape_seconds gives every run as many scrapes.
            per_second: messages.
            scrape_seconds: between two scrapes; half of it before the first. Without metrics none.
        """
        self.switch(parts)
        delivered, cpu, start = self.delivered(), self.program.cpu_seconds(), time.monotonic()
        pause = scrape_seconds if "metrics" in parts else None
        uvloop.run(_post_steadily(self.program.url, seconds, per_second, pause))
        self._wait_for(delivered + round(seconds * per_second))
        self.switch(parts)
        return 100 * (self.program.cpu_seconds() - cpu) / (time.monotonic() - start)

    def _wait_for(self, delivered: int) -> None:
        while self.delivered() < delivered:
            time.sleep(0.02)

    def delivered(self) -> int:
        """Messages delivered so far, read from the database: with metrics off the bridge counts none."""
        query = "SELECT count(*) FROM message WHERE state = 'delivered'"
        return int(filling.rows(self.bench.sqlite(self.name), query)[0][0])

    def scrape(self) -> None:
        """Reads the metrics once, as Prometheus does."""
        self.program.client.get("/metrics", headers=SCRAPE_HEADERS).raise_for_status()

    def scrape_cost(self, times: int = 100) -> float:
        """CPU seconds of one scrape."""
        cpu = self.program.cpu_seconds()
        for _ in range(times):
            self.scrape()
        return (self.program.cpu_seconds() - cpu) / times


def _session() -> aiohttp.ClientSession:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    return aiohttp.ClientSession(headers=headers)


def _post_by(session: aiohttp.ClientSession, url: str) -> Post:
    async def post(number: int) -> None:
        body = orjson.dumps(filling.EVENT | {"chat_id": FIRST_CHAT + number % CHATS})
        async with session.post(f"{url}/events", data=body) as response:
            response.raise_for_status()

    return post


async def _post_fast(url: str, messages: int) -> None:
    async with _session() as session:
        await concurrently(CONCURRENCY, messages, _post_by(session, url))


async def _post_steadily(url: str, seconds: float, per_second: int, scrape_seconds: float | None) -> None:
    """Posts at fixed times, also if an answer is late, and scrapes meanwhile."""
    async with _session() as session, asyncio.TaskGroup() as group:
        post = _post_by(session, url)
        if scrape_seconds is not None:
            group.create_task(_scrape_steadily(session, url, seconds, scrape_seconds))
        start = time.perf_counter()
        for number in range(round(seconds * per_second)):
            await asyncio.sleep(max(0.0, start + number / per_second - time.perf_counter()))
            group.create_task(post(number))
        await asyncio.sleep(max(0.0, start + seconds - time.perf_counter()))


async def _scrape_steadily(session: aiohttp.ClientSession, url: str, seconds: float, pause: float) -> None:
    await asyncio.sleep(pause / 2)
    for number in range(round(seconds / pause)):
        async with session.get(f"{url}/metrics", headers=SCRAPE_HEADERS) as response:
            response.raise_for_status()
            await response.read()
        if number + 1 < round(seconds / pause):
            await asyncio.sleep(pause)
