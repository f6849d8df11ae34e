"""Runs the causes and prints a row for each rule; exits with 1 if one did not fire, arrive or resolve."""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.alerts_check import observation, shortened, stack
from benchmarks.alerts_check.causes import CAUSES, NOT_PROVOKED, Cause
from benchmarks.alerts_check.observation import RESOLVE_SECONDS, Seen
from benchmarks.alerts_check.stack import Stack
from tests.stack import config, servers


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the causes of the chosen rules, or of all, and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.alerts_check", description=__doc__)
    parser.add_argument("--rule", action="append", help="only causes of this rule; repeatable")
    chosen = parser.parse_args(arguments).rule
    causes = [cause for cause in CAUSES if not chosen or set(chosen) & set(cause.rules)]
    with tempfile.TemporaryDirectory(prefix="cctelegram-alerts-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL's user passes through
        with stack.running(folder) as running:
            servers.until("the Watchdog", lambda: "Watchdog" in observation.firing(running))
            rows = run(running, causes)
    print("\n".join([*table(rows), *footnotes()]))
    missing = set() if chosen else unexplained()
    for rule in sorted(missing):
        print(f"{rule}: no cause, and no reason why not")
    return 0 if all(row.complete for row in rows) and not missing else 1


def unexplained() -> set[str]:
    """The rules that neither have a cause nor a reason."""
    caused = {rule for cause in CAUSES for rule in cause.rules}
    return {rule["alert"] for rule in config.alerts()} - caused - NOT_PROVOKED.keys()


def run(running: Stack, causes: Sequence[Cause]) -> list[Seen]:
    """Breaks one cause after the other; waits for the ends while the next ones are broken, and at the end."""
    mended: list[tuple[float, list[Seen]]] = []
    for cause in causes:
        print(f"{cause.what} …", file=sys.stderr, flush=True)
        rows = observation.provoke(running, cause)
        mended.append((time.monotonic(), rows))
        _ends(running, mended, 15)
        print("\n".join(table(rows)[2:]), file=sys.stderr, flush=True)
    _ends(running, mended, RESOLVE_SECONDS)
    return [row for _, rows in mended for row in rows]


def _ends(running: Stack, mended: list[tuple[float, list[Seen]]], seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        for at, rows in mended:
            observation.wait_for_ends(running, rows, at)
        if all(row.resolved is not None or row.fired is None for _, rows in mended for row in rows):
            return
        time.sleep(0.5)


def table(rows: Sequence[Seen]) -> list[str]:
    """The rows as Markdown, one for each rule."""
    lines = ["| rule | cause | fires, s | delivered, s | resolved, s |", "|---|---|--:|--:|--:|"]
    for row in rows:
        delivered = ("inhibited " if row.inhibited else "") + _number(row.delivered)
        lines.append(
            f"| {row.rule} | {row.cause} | {_number(row.fired)} | {delivered} | {_number(row.resolved)} |"
        )
    return lines


def footnotes() -> list[str]:
    """What the table does not show."""
    lines = [f"\nAll times of the rules are divided by {shortened.FACTOR}. Lowered thresholds:"]
    lines += [f"- {rule}: {was} is {now}" for rule, (was, now) in shortened.LOWERED.items()]
    lines += ["", "Not provoked here:"]
    return lines + [f"- {rule}: {reason}" for rule, reason in NOT_PROVOKED.items()]


def _number(seconds: float | None) -> str:
    return "NO" if seconds is None else f"{seconds:.1f}"


if __name__ == "__main__":
    sys.exit(main())
