"""Fuzzes the services, prints a table; exit code 1 if an answer is wrong or an operation was not reached."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests import servers
from tests.fuzz.run import PHASES, Report, Service, dump, run
from tests.fuzz.targets import TARGETS, bridge

POSTGRESQL = "bridge_postgresql"


def main() -> int:
    arguments = _arguments()
    reports = []
    for name in arguments.services or [*TARGETS, POSTGRESQL]:
        print(f"{name} …", flush=True)
        report = asyncio.run(_fuzz(name, arguments))
        reports.append(report)
        _details(report, everything=arguments.verbose)
    print(table(reports))
    return 1 if any(problems(report) for report in reports) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("services", nargs="*", choices=[*TARGETS, POSTGRESQL, []], help="default: all")
    parser.add_argument("--examples", type=int, default=500, help="random requests of an operation")
    parser.add_argument("--seed", type=int, default=1, help="of the random requests")
    parser.add_argument("--phases", nargs="+", choices=PHASES, default=PHASES)
    parser.add_argument("--verbose", action="store_true", help="print the statuses of every operation")
    return parser.parse_args()


async def _fuzz(name: str, arguments: argparse.Namespace) -> Report:
    with tempfile.TemporaryDirectory(prefix="cctelegram-fuzz-") as folder:
        async with _target(name, Path(folder)) as service:
            # The engine blocks, so it runs in a thread beside the tasks of the target.
            return await asyncio.to_thread(
                run, service, examples=arguments.examples, seed=arguments.seed, phases=tuple(arguments.phases)
            )


@asynccontextmanager
async def _target(name: str, folder: Path) -> AsyncIterator[Service]:
    if name != POSTGRESQL:
        async with TARGETS[name](folder) as service:
            yield service
        return
    programs = servers.postgres_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed: make servers")
    with servers.postgres(programs) as server, server.database() as url:
        async with bridge(folder, url, POSTGRESQL) as service:
            yield service


def problems(report: Report) -> list[str]:
    """Why a report is a failure; empty if it is none."""
    missed = sorted(set(report.documented) - set(report.reached))
    return [
        *([f"not reached: {', '.join(missed)}"] if missed else []),
        *([f"answers with status 500: {report.server_errors}"] if report.server_errors else []),
        *(f"{check}: {label}\n{text}" for (check, label), text in report.failures.items()),
        *report.errors,
    ]


def _details(report: Report, *, everything: bool) -> None:
    for problem in problems(report):
        print(f"\n{problem}")
    if everything:
        print(dump(report))


def table(reports: Sequence[Report]) -> str:
    """One row for each service: operations reached, requests by phase, answers with status 500, failures."""
    head = f"{'service':<20}{'operations':>12}{'requests':>10}"
    lines = [head + "".join(f"{phase:>10}" for phase in PHASES) + f"{'500':>6}{'failures':>10}"]
    for report in reports:
        reached = f"{len(report.reached)}/{len(report.documented)}"
        row = f"{report.name:<20}{reached:>12}{report.cases:>10}"
        row += "".join(f"{report.phases[phase]:>10}" for phase in PHASES)
        lines.append(row + f"{report.server_errors:>6}{len(report.failures) + len(report.errors):>10}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
