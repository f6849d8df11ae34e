"""Delivery: the rate at which one process claims queued messages, sends them to the sandbox and settles them.

It is compared with a loop of python-telegram-bot's `Bot.send_message` (the stock sender) and with aiohttp
posts, which have no goal. Both send the same text and entities, 32 calls at once, without a database.

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
from benchmarks.programs import FIRST_CHAT, TOKEN, Bench, Program, concurrently, make_chats, on_core

CONCURRENCY = 32
SEND_CONCURRENCY = 128
#: What Telegram allows a bot that pays, messages a second.
PAID_PER_SECOND = 1_000


def main() -> None:
    options = _options()
    rows = {
        name: (Ratios(f"rate against {what}", "/s", rate), Ratios(f"CPU against {what}", "µs", cpu))
        for name, what, rate, cpu in (
            ("stock", "stock `Bot.send_message`", "≥ 3.0", "≤ 0.33"),
            ("aiohttp", "bare aiohttp posts", "", ""),
        )
    }
    paid = Ratios(f"rate against {PAID_PER_SECOND:,} messages/s", "/s", "≥ 1.0")
    with Bench() as bench:
        sandbox = bench.sandbox()
        make_chats(sandbox, options.messages)
        parameters = filling.request(bench.sqlite("one"))
        for number in range(options.pairs):
            with on_core(bench.measured):
                baselines = {
                    "stock": _timed(_stock, sandbox.url, parameters, options.messages // 10),
                    "aiohttp": _timed(_aiohttp, sandbox.url, parameters, options.messages),
                }
            ours = _bridge(bench, sandbox, number, options)
            measured = " ".join(f"{name} {one}" for name, one in {"bridge": ours, **baselines}.items())
            print(measured, flush=True)
            paid.add(ours.per_second, PAID_PER_SECOND)
            for name, baseline in baselines.items():
                rate, cpu = rows[name]
                rate.add(ours.per_second, baseline.per_second)
                cpu.add(ours.cpu_microseconds, baseline.cpu_microseconds)
    machine.report(
        "Delivery to the sandbox, one process, SQLite FULL",
        [*rows["stock"], paid, *rows["aiohttp"]],
        [
            (
                f"{options.messages:,} messages are queued, each for another chat; rate limits are off in "
                f"the bridge and the sandbox; {SEND_CONCURRENCY} calls at once (SEND_CONCURRENCY)."
            ),
            "From the first claim to the last settle: leases, attempts, answers and states are on disk.",
            (
                "The sandbox runs on the other core; its answers limit all three rates. CPU is that of the "
                "sending process for one message, with all its threads; other load on the machine changes it "
                "less than the rate."
            ),
        ],
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=6_000)
    parser.add_argument(
        "--profile", type=Path, help="write py-spy's raw record of the last pair's bridge to it"
    )
    return parser.parse_args()


@dataclass(frozen=True)
class Measured:
    """One sender's rate and CPU per message."""

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
    # It delivers already; what it delivered before this point is not counted. From here the database is read,
    # because each request to the bridge would add to its CPU.
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


def _timed(loop: Loop, url: str, parameters: dict[str, Any], count: int) -> Measured:
    cpu = time.process_time()
    rate = uvloop.run(loop(url, parameters, count))
    return Measured(rate, 1e6 * (time.process_time() - cpu) / count)


def _profile(bridge: Program, file: Path) -> None:
    command = ["py-spy", "record", "-d", "4", "-r", "400", "-f", "raw", "--gil"]
    subprocess.Popen(
        [*command, "-o", str(file), "-p", str(bridge.process.pid)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _stock(url: str, parameters: dict[str, Any], count: int) -> float:
    entities = telegram.MessageEntity.de_list(parameters["entities"], None)
    request = HTTPXRequest(connection_pool_size=CONCURRENCY, pool_timeout=100)
    async with telegram.Bot(TOKEN, base_url=f"{url}/bot", request=request) as bot:

        async def send(number: int) -> None:
            await bot.send_message(FIRST_CHAT + number, parameters["text"], entities=entities)

        return await concurrently(CONCURRENCY, count, send)


async def _aiohttp(url: str, parameters: dict[str, Any], count: int) -> float:
    address = f"{url}/bot{TOKEN}/sendMessage"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

        async def send(number: int) -> None:
            async with session.post(address, json={"chat_id": FIRST_CHAT + number, **parameters}) as response:
                response.raise_for_status()
                await response.read()

        return await concurrently(CONCURRENCY, count, send)


if __name__ == "__main__":
    main()
