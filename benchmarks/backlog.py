"""Backlog: the rate of claim and settle with a million messages queued, against a thousand.

It calls the engine's settle and claim on SQLite (FULL) and on PostgreSQL. It sends nothing to Telegram: the
calls would take longer than the difference.

    python -m benchmarks.backlog [--pairs 5] [--messages 1000000] [--databases sqlite,postgresql]
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
from sqlalchemy import Connection

from benchmarks import filling, machine
from benchmarks.machine import Ratios
from benchmarks.programs import Bench, on_core
from services.kit.database.connect import Database, open_database
from services.kit.settings import ServiceSettings
from services.kit.telemetry.telemetry import Telemetry
from services.outbox.delivery import claims, retry_policy, settlement
from services.outbox.delivery.retry_policy import Policy
from services.outbox.engine import OPERATIONS
from services.outbox.messages import Claimed, Outcome, Reason, Result, Settled
from services.outbox.rate_limit.limits import Limits

FEW = 1_000
BATCH = 100
TURNS = 8
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
                f"{TURNS} transactions of {BATCH} messages a measurement. Each settles the messages of the "
                "one before as delivered, leases the next and opens their attempts, and is on disk."
            ),
            "Ten messages are queued in each chat on both sides; none are added between two pairs.",
            "CPU is that of this process with its SQLite thread, without PostgreSQL.",
        ],
    )


def _compared(bench: Bench, kind: str, options: argparse.Namespace) -> list[Ratios]:
    against = f"{options.messages:,} waiting against {FEW:,}"
    rate = Ratios(f"{kind}: claim + settle, {against}", "/s", "≥ 0.9")
    cpu = Ratios(f"{kind}: CPU a message", "µs", "≤ 1.1")
    memory = Ratios(f"{kind}: memory of the process (RSS)", "MB", "flat")
    make = _databases(bench, kind)
    many = make("many")
    # A tenth as many chats as messages: most chats have several queued.
    filling.fill_by_copies(many, options.messages, options.messages // 10)
    with on_core(bench.measured):
        for number in range(options.pairs):
            few = make(f"few_{number}")
            filling.fill(few, [number % (FEW // 10) + 1 for number in range(FEW)])
            baseline, ours = asyncio.run(_turns(few)), asyncio.run(_turns(many))
            print(f"{kind}, pair {number + 1}: {ours} and {baseline}", flush=True)
            rate.add(ours.per_second, baseline.per_second)
            cpu.add(ours.cpu_microseconds, baseline.cpu_microseconds)
            memory.add(ours.memory_mb, baseline.memory_mb)
    return [rate, cpu, memory]


def _databases(bench: Bench, kind: str) -> Callable[[str], str]:
    """Returns a function that creates a database by name and returns its URL."""
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
    """The result of one measurement."""

    per_second: float
    cpu_microseconds: float
    memory_mb: float

    def __str__(self) -> str:
        return f"{self.per_second:,.0f}/s {self.cpu_microseconds:,.0f} µs {self.memory_mb:,.0f} MB"


async def _turns(url: str) -> Measured:
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        claimed = await _turn(database, [])  # opens the file, compiles the statements
        claimed = await _turn(database, claimed)
        start, cpu = time.perf_counter(), time.process_time()
        for _ in range(TURNS):
            claimed = await _turn(database, claimed)
        took, cpu = time.perf_counter() - start, time.process_time() - cpu
    finally:
        await database.close()
    number = TURNS * BATCH
    return Measured(number / took, 1e6 * cpu / number, psutil.Process().memory_info().rss / 1e6)


async def _turn(database: Database, claimed: Sequence[Claimed]) -> list[Claimed]:
    """Settles what was claimed and claims the next, in one transaction, as a worker does."""
    now = time.time()
    done = [_delivered(message, now) for message in claimed]

    def work(connection: Connection) -> list[Claimed]:
        settlement.settle(connection, "benchmark", done, NO_LIMITS, now)
        return claims.claim(connection, "default", "benchmark", BATCH, now=now).messages

    taken = await database.write("turn", work)
    assert len(taken) == BATCH, "there was not enough to claim"  # noqa: S101 - else it measures nothing
    return taken


def _delivered(message: Claimed, now: float) -> Settled:
    result = Result(Outcome.SENT, Reason.NONE, now, now, message_id=message.seq)
    return Settled(message, result, retry_policy.decide(Policy(), message, result, 1, 0.5))


if __name__ == "__main__":
    main()
