"""Delivery: messages that wait in SQLite, claimed, sent to the sandbox and settled, by one process.

Against a bare loop of python-telegram-bot's own `Bot.send_message`, and against bare aiohttp posts of
the same, text and entities: both at 32 at once, without a database.

    python -m benchmarks.delivery [--pairs 5] [--messages 6000] [--profile FILE]
"""

import argparse
import shutil
import subprocess
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import telegram
import uvloop
from telegram.request import HTTPXRequest

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import FIRST_CHAT, TOKEN, Bench, Program, at_once, make_chats, on_core

AT_ONCE = 32
SEND_CONCURRENCY = 128


def main() -> None:
    options = _options()
    rows = {
        name: (Ratios(f"rate against {what}", "/s", rate), Ratios(f"CPU against {what}", "µs", cpu))
        for name, what, rate, cpu in (
            ("stock", "stock `Bot.send_message`", "≥ 4.0", "≤ 0.25"),
            ("aiohttp", "bare aiohttp posts", "≥ 0.6", "≤ 1.67"),
        )
    }
    with Bench() as bench:
        sandbox = bench.sandbox()
        make_chats(sandbox, options.messages)
        wanted = filling.request(bench.sqlite("one"))
        for number in range(options.pairs):
            with on_core(bench.measured):
                baselines = {
                    "stock": _timed(_stock, sandbox.url, wanted, options.messages // 10),
                    "aiohttp": _timed(_aiohttp, sandbox.url, wanted, options.messages),
                }
            ours = _bridge(bench, sandbox, number, options)
            said = " ".join(f"{name} {one}" for name, one in {"bridge": ours, **baselines}.items())
            print(said, flush=True)
            for name, baseline in baselines.items():
                rate, cpu = rows[name]
                rate.add(ours.per_second, baseline.per_second)
                cpu.add(ours.cpu_microseconds, baseline.cpu_microseconds)
    machine.report(
        "Delivery to the sandbox, one process, SQLite FULL",
        [row for both in rows.values() for row in both],
        [
            (
                f"{options.messages:,} messages wait, each in a chat of its own; Telegram's "
                "limits are off on "
                f"both sides; {SEND_CONCURRENCY} calls at once (SEND_CONCURRENCY)."
            ),
            "From the first claim to the last settle: leases, attempts, answers and states are on disk.",
            (
                "The sandbox is on the other core; its answers bound all three. CPU is that of the sending "
                "process for a message, with all its threads: it holds where the machine is not quiet."
            ),
        ],
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=6_000)
    parser.add_argument("--profile", type=Path, help="py-spy's raw record of the last pair's bridge")
    return parser.parse_args()


@dataclass(frozen=True)
class Measured:
    """One sender's rate, and its CPU a message."""

    per_second: float
    cpu_microseconds: float

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s {self.cpu_microseconds:,.0f} µs;"


def _bridge(bench: Bench, sandbox: Program, number: int, options: argparse.Namespace) -> Measured:
    name = f"bridge-{number}"
    (bench.folder / name).mkdir()
    filling.fill(bench.sqlite(name), filling.chats(options.messages))
    bridge = bench.bridge(sandbox.url, name, SEND_CONCURRENCY=str(SEND_CONCURRENCY))
    if options.profile is not None:
        _profile(bridge, options.profile)
    # It delivers already: what was done before this look is not counted. While it delivers the database
    # is looked at, for each question to the bridge itself would count as work of its own.
    before, cpu = _delivered(bridge), bridge.cpu_seconds()
    while filling.rows(bench.sqlite(name), _UNSETTLED)[0][0]:
        time.sleep(0.05)
    cpu = (bridge.cpu_seconds() - cpu) / (options.messages - before)
    rate = filling.per_second(filling.delivered(bench.sqlite(name)))
    bridge.stop()
    shutil.rmtree(bench.folder / name)
    return Measured(rate, 1e6 * cpu)


_UNSETTLED = "SELECT EXISTS (SELECT 1 FROM message WHERE state IN ('queued', 'sending', 'retry_wait'))"


def _delivered(bridge: Program) -> int:
    return int(bridge.get("/api/v1/stats")["delivered_total"])


Loop = Callable[[str, dict[str, Any], int], Coroutine[Any, Any, float]]


def _timed(loop: Loop, url: str, wanted: dict[str, Any], count: int) -> Measured:
    cpu = time.process_time()
    rate = uvloop.run(loop(url, wanted, count))
    return Measured(rate, 1e6 * (time.process_time() - cpu) / count)


def _profile(bridge: Program, file: Path) -> None:
    command = ["py-spy", "record", "-d", "4", "-r", "400", "-f", "raw", "--gil", "-o", file]
    subprocess.Popen(
        [*command, "-p", str(bridge.process.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


async def _stock(url: str, wanted: dict[str, Any], count: int) -> float:
    entities = telegram.MessageEntity.de_list(wanted["entities"], None)
    request = HTTPXRequest(connection_pool_size=AT_ONCE, pool_timeout=100)
    async with telegram.Bot(TOKEN, base_url=f"{url}/bot", request=request) as bot:

        async def send(number: int) -> None:
            await bot.send_message(FIRST_CHAT + number, wanted["text"], entities=entities)

        return await at_once(AT_ONCE, count, send)


async def _aiohttp(url: str, wanted: dict[str, Any], count: int) -> float:
    address = f"{url}/bot{TOKEN}/sendMessage"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:

        async def send(number: int) -> None:
            async with session.post(address, json={"chat_id": FIRST_CHAT + number, **wanted}) as response:
                response.raise_for_status()
                await response.read()

        return await at_once(AT_ONCE, count, send)


if __name__ == "__main__":
    main()
