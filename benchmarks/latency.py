"""Latency: the time that the bridge adds between a client's POST and Telegram's server, at 100 messages/s.

A measurement begins before the client sends its request, and ends at the time in the sandbox's log, when it
has read the call. The baseline posts the same text directly to the sandbox, in turns with the bridge.
A message is on disk before its answer, and its attempt before the call: what two commits alone take on this
disk is the least that can be added, and is measured in the same turns.

    python -m benchmarks.latency [--pairs 3] [--seconds 10]
"""

import argparse
import asyncio
import sqlite3
import statistics
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import uvloop

from benchmarks import filling, machine
from benchmarks.programs import FIRST_CHAT, KEY, TOKEN, Bench, Program, make_chats, on_core

PER_SECOND = 100
CHATS = 1_000
GOAL = "goal: p99 ≤ 6 ms"
Post = Callable[[aiohttp.ClientSession, int, str], Coroutine[Any, Any, None]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    found: dict[str, list[list[float]]] = {"through the bridge": [], "directly to the sandbox": []}
    commits: list[float] = []
    with Bench() as bench:
        sandbox = bench.sandbox()
        make_chats(sandbox, CHATS)
        bridge = bench.bridge(sandbox.url, "bridge")
        ways = dict(zip(found, (_through(bridge), _direct(sandbox)), strict=True))
        with on_core(bench.other):
            for number in range(options.pairs):
                for way, post in ways.items():
                    took = uvloop.run(_run(sandbox, post, options.seconds * PER_SECOND, f"{way} {number}"))
                    found[way].append(took)
                    print(f"{way}: {_in_milliseconds(took)}", flush=True)
                commits += _two_commits(bench.folder / f"{number}.db", options.seconds * PER_SECOND)
    print(f"\n### Latency at {PER_SECOND} messages/s\n")
    print("| way | p50 | p99 | p50 of each run |\n|---|---|---|---|")
    for way, runs in found.items():
        every = [took for run in runs for took in run]
        each = ", ".join(f"{1e3 * quantile(run, 0.5):.1f}" for run in runs)
        p50, p99 = (1e3 * quantile(every, share) for share in (0.5, 0.99))
        print(f"| {way} | {p50:.1f} ms | {p99:.1f} ms | {each} |")
    ours, direct = ([took for run in runs for took in run] for runs in found.values())
    added = [1e3 * (quantile(ours, share) - quantile(direct, share)) for share in (0.5, 0.99)]
    least = " | ".join(f"{1e3 * quantile(commits, share):.1f} ms" for share in (0.5, 0.99))
    print(f"| two commits alone | {least} | the least that can be added |")
    print(f"| **added by the bridge** | **{added[0]:.1f} ms** | **{added[1]:.1f} ms** | {GOAL} |")
    print(f"\n{options.pairs} runs each, in turns. Machine: {machine.facts()}.")
    print("- From before the POST to the time of the call in the sandbox, commit (SQLite FULL) included.")


def _two_commits(path: Path, count: int) -> list[float]:
    """Seconds of two commits that follow each other, a row of the size of a message each."""
    took = []
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body BLOB)")
        start = time.perf_counter()
        for number in range(count):
            time.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
            began = time.perf_counter()
            for _ in range(2):
                database.execute("INSERT INTO message (body) VALUES (zeroblob(1000))")
            took.append(time.perf_counter() - began)
    return took


def _through(bridge: Program) -> Post:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}

    async def post(session: aiohttp.ClientSession, number: int, name: str) -> None:
        body = orjson.dumps(filling.EVENT | {"title": name, "chat_id": FIRST_CHAT + number % CHATS})
        async with session.post(f"{bridge.url}/events", data=body, headers=headers) as response:
            response.raise_for_status()

    return post


def _direct(sandbox: Program) -> Post:
    async def post(session: aiohttp.ClientSession, number: int, name: str) -> None:
        body = {
            "chat_id": FIRST_CHAT + number % CHATS,
            "text": f"✅ {name}\n\n{filling.EVENT['description']}",
        }
        async with session.post(f"{sandbox.url}/bot{TOKEN}/sendMessage", json=body) as response:
            response.raise_for_status()

    return post


async def _run(sandbox: Program, post: Post, count: int, name: str) -> list[float]:
    """Seconds from the POST to the sandbox, of each message."""
    posted: dict[str, float] = {}
    async with aiohttp.ClientSession() as session:
        start = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(count):
                await asyncio.sleep(max(0.0, start + number / PER_SECOND - time.perf_counter()))
                title = f"{name} {number}"
                posted[title] = time.time()
                group.create_task(post(session, number, title))
        return await _arrived(session, sandbox, posted)


async def _arrived(
    session: aiohttp.ClientSession, sandbox: Program, posted: Mapping[str, float]
) -> list[float]:
    arrived: dict[str, float] = {}
    cursor = "0"
    while len(arrived) < len(posted):
        parameters = {"cursor": cursor, "limit": "10000", "wait": "5"}
        async with session.get(f"{sandbox.url}/control/log", params=parameters) as page:
            page.raise_for_status()
            lines = (await page.read()).splitlines()
            cursor = page.headers["X-Next-Cursor"]
        for entry in map(orjson.loads, lines):
            title = _title(entry)
            if title in posted:
                arrived[title] = entry["time"]
    return [arrived[title] - sent for title, sent in posted.items()]


def _title(entry: Mapping[str, Any]) -> str:
    text = str(entry.get("text") or "")
    return text.partition("\n")[0].removeprefix("✅ ")


def quantile(values: list[float], share: float) -> float:
    """The value below which this share of the values lies."""
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1]


def _in_milliseconds(took: list[float]) -> str:
    return f"p50 {1e3 * quantile(took, 0.5):.1f} ms, p99 {1e3 * quantile(took, 0.99):.1f} ms"


if __name__ == "__main__":
    main()
