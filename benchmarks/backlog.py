"""Backlog: how fast messages are claimed and settled with a million waiting, against a thousand.

The engine's own claim and settle on SQLite (FULL), without a Telegram between them: what it says would
drown the difference.

    python -m benchmarks.backlog [--pairs 5] [--messages 1000000]
"""

import argparse
import asyncio
import time
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
    options = parser.parse_args()
    rate = Ratios(f"claim + settle, {options.messages:,} waiting against {FEW:,}", "/s", "≥ 0.9")
    memory = Ratios("memory of the process (RSS)", "MB", "flat")
    with Bench() as bench:
        many, few = bench.folder / "many.db", bench.folder / "few.db"
        # A tenth as many chats as messages: most have several waiting.
        filling.fill(f"sqlite:///{many}", [n % (options.messages // 10) + 1 for n in range(options.messages)])
        with on_core(bench.measured):
            for number in range(options.pairs):
                few.unlink(missing_ok=True)
                filling.fill(f"sqlite:///{few}", [n % (FEW // 10) + 1 for n in range(FEW)])
                baseline = asyncio.run(_cycles(f"sqlite:///{few}"))
                ours = asyncio.run(_cycles(f"sqlite:///{many}"))
                print(f"pair {number + 1}: {ours[0]:,.0f}/s and {baseline[0]:,.0f}/s", flush=True)
                rate.add(ours[0], baseline[0])
                memory.add(ours[1], baseline[1])
    machine.report(
        "A long backlog",
        [rate, memory],
        [
            (
                f"{CYCLES} times {BATCH} messages a measurement, each leased, its attempt opened, "
                "and settled as "
                "delivered, in two transactions that are on disk."
            ),
            "Ten messages wait in each chat on both sides.",
        ],
    )


async def _cycles(url: str) -> tuple[float, float]:
    """Messages a second, and the memory afterwards in MB."""
    telemetry = Telemetry("benchmark", ServiceSettings())
    database = await open_database(url, telemetry, packages=["services.outbox"], operations=OPERATIONS)
    try:
        await _cycle(database)  # opens the file, compiles the statements
        start = time.perf_counter()
        for _ in range(CYCLES):
            await _cycle(database)
        rate = CYCLES * BATCH / (time.perf_counter() - start)
    finally:
        await database.close()
    return rate, psutil.Process().memory_info().rss / 1e6


async def _cycle(database: Database) -> None:
    now = time.time()
    work = partial(claims.claim, bot="default", owner="benchmark", limit=BATCH, now=now, paced_since=None)
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
