"""Backlog: how fast messages are claimed and settled with a million waiting, against a thousand.

The engine's own settle and claim on SQLite (FULL) and on PostgreSQL, without a Telegram between them:
what it says would drown the difference.

    python -m benchmarks.backlog [--pairs 5] [--messages 1000000] [--databases sqlite,postgresql]
"""

import argparse
import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import psutil

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import Bench, on_core
from services.kit.db import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry import Telemetry
from services.outbox import claims, policy, settling
from services.outbox.engine import OPERATIONS
from services.outbox.limiter import Limits
from services.outbox.messages import Claimed, Outcome, Reason, Result, Settled
from services.outbox.policy import Policy

FEW = 1_000
BATCH = 100
CYCLES = 8
NO_LIMITS = Limits(0.0, 0.0, 1.0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--databases", default="sqlite,postgresql")
    options = parser.parse_args()
    rows: list[Ratios] = []
    with Bench() as bench:
        for kind in options.databases.split(","):
            rows += _compared(bench, kind, options)
    machine.report(
        "A long backlog",
        rows,
        [
            (
                f"{CYCLES} times {BATCH} messages a measurement, each leased, its attempt opened, "
                "and settled as delivered, in two transactions that are on disk."
            ),
            "Ten messages wait in each chat on both sides; between two pairs nothing is added to the many.",
            "CPU is this process's, with its SQLite thread; PostgreSQL's own is not in it.",
        ],
    )


def _compared(bench: Bench, kind: str, options: argparse.Namespace) -> list[Ratios]:
    against = f"{options.messages:,} waiting against {FEW:,}"
    rate = Ratios(f"{kind}: claim + settle, {against}", "/s", "≥ 0.9")
    cpu = Ratios(f"{kind}: CPU a message", "µs", "≤ 1.1")
    memory = Ratios(f"{kind}: memory of the process (RSS)", "MB", "flat")
    make = _databases(bench, kind)
    many = make("many")
    # A tenth as many chats as messages: most have several waiting.
    filling.fill_by_copies(many, options.messages, options.messages // 10)
    with on_core(bench.measured):
        for number in range(options.pairs):
            few = make(f"few_{number}")
            filling.fill(few, [number % (FEW // 10) + 1 for number in range(FEW)])
            baseline, ours = asyncio.run(_cycles(few)), asyncio.run(_cycles(many))
            print(f"{kind}, pair {number + 1}: {ours} and {baseline}", flush=True)
            rate.add(ours.per_second, baseline.per_second)
            cpu.add(ours.cpu_microseconds, baseline.cpu_microseconds)
            memory.add(ours.memory_mb, baseline.memory_mb)
    return [rate, cpu, memory]


def _databases(bench: Bench, kind: str) -> Callable[[str], str]:
    """Makes databases by name; answers their addresses."""
    if kind == "sqlite":
        return lambda name: f"sqlite:///{bench.folder / name}.db"
    server = bench.postgres()
    if server is None:
        raise SystemExit("PostgreSQL is not installed: apt install postgresql")

    def make(name: str) -> str:
        server.sql(f"CREATE DATABASE {name}")
        return server.url(name)

    return make


@dataclass(frozen=True)
class Measured:
    """What a number of cycles came to."""

    per_second: float
    cpu_microseconds: float
    memory_mb: float

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s {self.cpu_microseconds:,.0f} µs {self.memory_mb:,.0f} MB"


async def _cycles(url: str) -> Measured:
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        await _cycle(database)  # opens the file, compiles the statements
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(CYCLES):
            await _cycle(database)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
    finally:
        await database.close()
    number = CYCLES * BATCH
    return Measured(number / took, 1e6 * cpu / number, psutil.Process().memory_info().rss / 1e6)


async def _cycle(database: Database) -> None:
    now = time.time()
    work = partial(claims.claim, bot="default", owner="benchmark", limit=BATCH, now=now)
    batch = await database.write("claim", work)
    assert len(batch.messages) == BATCH, "there was not enough to claim"  # noqa: S101 - or it measures nothing
    done = [_delivered(message, time.time()) for message in batch.messages]
    await database.write(
        "settle",
        partial(settling.settle, owner="benchmark", settled=done, limits=NO_LIMITS, now=time.time()),
    )


def _delivered(message: Claimed, now: float) -> Settled:
    result = Result(Outcome.SENT, Reason.NONE, now, now, message_id=message.seq)
    return Settled(message, result, policy.decide(Policy(), message, result, 1, 0.5))


if __name__ == "__main__":
    main()
