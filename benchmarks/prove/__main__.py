"""Runs the scenarios and prints the table; the exit code is 1 if an invariant is broken."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.prove import scenarios
from benchmarks.prove.reader import Verdict
from benchmarks.prove.scenarios import SCENARIOS, Plan, Ran

MESSAGES = 10_000
QUICK_MESSAGES = 1_500
QUICK = ("kills", "telegram")
QUICK_ROUNDS = 5
COLUMNS = (
    "scenario",
    "store",
    "posted",
    "202",
    "delivered",
    "dead",
    "expired",
    "held",
    "lost",
    "order",
    "dup.",
    "unexpl.",
    "phantom",
    "no 202",
    "no answer",
    "kills",
    "felt",
    "seconds",
)


@dataclass(frozen=True, slots=True)
class Job:
    name: str
    store: str
    plan: Plan


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the selected scenarios and returns the exit code.

    Args:
        arguments: of the command line; unset: those of this process.
    """
    options = _options(arguments)
    jobs = list(_jobs(options))
    folder = Path(tempfile.mkdtemp(prefix="cctelegram-proof-"))
    folder.chmod(0o755)  # PostgreSQL's user passes through
    start = time.monotonic()
    try:
        runs = asyncio.run(_run(jobs, folder))
    except BaseException:
        print(f"logs: {folder}", file=sys.stderr)
        raise
    print(f"\nseed {options.seed}, {time.monotonic() - start:.0f} s\n")
    print("\n".join(table(runs)))
    return _verdict(runs, folder, keep=options.keep)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="about a minute: kills and Telegram faults, on SQLite"
    )
    parser.add_argument(
        "--scenario", action="append", choices=SCENARIOS, help="run this one only; repeatable"
    )
    parser.add_argument("--store", choices=("sqlite", "postgresql", "both"))
    parser.add_argument("--rounds", type=int, help="of faults in each scenario")
    parser.add_argument(
        "--messages",
        type=int,
        help=f"of the scenario kills, default {MESSAGES}; the others post a share of it",
    )
    parser.add_argument("--seed", type=int, default=1, help="of all random choices")
    parser.add_argument("--keep", action="store_true", help="do not delete logs and databases after success")
    return parser.parse_args(arguments)


def _jobs(options: argparse.Namespace) -> Iterator[Job]:
    chosen = options.scenario or (QUICK if options.quick else tuple(SCENARIOS))
    stores = {
        None: ("sqlite",) if options.quick else ("sqlite", "postgresql"),
        "both": ("sqlite", "postgresql"),
    }
    messages = options.messages or (QUICK_MESSAGES if options.quick else MESSAGES)
    for store in stores.get(options.store, (options.store,)):
        for name in chosen:
            scenario = SCENARIOS[name]
            rounds = options.rounds or min(
                scenario.rounds, QUICK_ROUNDS if options.quick else scenario.rounds
            )
            if store not in scenario.stores:
                continue
            yield Job(name, store, Plan(rounds, max(rounds, int(messages * scenario.share)), options.seed))


async def _run(jobs: Sequence[Job], folder: Path) -> list[Ran]:
    runs = []
    for job in jobs:
        print(f"{job.name} on {job.store}: {job.plan.messages} messages …", file=sys.stderr, flush=True)
        ran = await scenarios.run(job.name, job.store, job.plan, folder / f"{job.name}-{job.store}")
        for note in ran.verdict.notes + (ran.alerts.notes if ran.alerts else []):
            print(f"  {note}", file=sys.stderr)
        print("\n".join(table([ran])), file=sys.stderr, flush=True)
        runs.append(ran)
    return runs


def _verdict(runs: Sequence[Ran], folder: Path, *, keep: bool) -> int:
    broken = {f"{ran.name} on {ran.store}": ran.broken for ran in runs if ran.broken}
    for where, what in broken.items():
        print(f"BROKEN: {where}: {what}")
    if broken or keep:
        print(f"logs: {folder}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
    print("An invariant is broken." if broken else "Every invariant held.")
    return 1 if broken else 0


def table(runs: Sequence[Ran]) -> Iterator[str]:
    """Yields the lines of a Markdown table with one row per run."""
    yield f"| {' | '.join(COLUMNS)} | what went wrong |"
    yield f"|---|---|{'---:|' * (len(COLUMNS) - 2)}---|"
    for ran in runs:
        yield _row(ran, ran.name, ran.verdict)
        if ran.alerts is not None:
            yield _row(ran, f"{ran.name}: alerts", ran.alerts)


def _row(ran: Ran, name: str, v: Verdict) -> str:
    numbers = (
        v.posted,
        v.accepted,
        v.delivered,
        v.dead_letter,
        v.expired,
        v.held,
        v.lost,
        v.order,
        v.duplicates,
        v.unexplained,
        v.phantoms,
        v.without_202,
        v.unanswered,
        ran.kills,
        ran.felt,
        round(ran.seconds),
    )
    troubles = ", ".join(f"{number}× {trouble}" for trouble, number in ran.troubles.items())
    return f"| {name} | {ran.store} | {' | '.join(map(str, numbers))} | {troubles} |"


if __name__ == "__main__":
    sys.exit(main())
