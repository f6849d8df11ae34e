"""The machine and its cores, and pairs of measurements as rows of a Markdown table."""

import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path


def cores() -> tuple[int, int]:
    """The core for the measured program and the core for all others; on one core they are the same."""
    available = sorted(os.sched_getaffinity(0))
    return available[0], available[-1]


def facts() -> str:
    """Describes the machine in one line."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="ascii").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    one, two = cores()
    pinned = (
        f"measured on core {one}, the rest on core {two}" if one != two else "one core: all programs share it"
    )
    return (
        f"{len(os.sched_getaffinity(0))} cores ({model}), {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f} at the start; {pinned}"
    )


@dataclass
class Ratios:
    """One row: a value and its baseline, measured in turns.

    Args:
        what: is compared.
        unit: of both values.
        goal: for the ratio value / baseline; empty for a row that only informs.
    """

    what: str
    unit: str
    goal: str
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def add(self, value: float, baseline: float) -> None:
        self.pairs.append((value, baseline))

    @property
    def ratios(self) -> list[float]:
        return sorted(value / baseline for value, baseline in self.pairs)

    def row(self) -> str:
        value, baseline = (statistics.median(side) for side in zip(*self.pairs, strict=True))
        low, middle, high = self.ratios[0], statistics.median(self.ratios), self.ratios[-1]
        return (
            f"| {self.what} | {value:,.0f} {self.unit} | {baseline:,.0f} {self.unit} "
            f"| **{middle:.2f}** ({low:.2f} to {high:.2f}) | {self.goal} |"
        )


HEAD = "| compared | measured | baseline | ratio: median (min to max) | goal |\n|---|---|---|---|---|"


def report(title: str, rows: Sequence[Ratios], notes: Sequence[str]) -> None:
    """Prints the rows as a Markdown table for docs/performance.md, then the notes."""
    print(f"\n### {title}\n")
    print(HEAD)
    for row in rows:
        print(row.row())
    pairs = len(rows[0].pairs) if rows else 0
    print(f"\n{pairs} pairs in turns. Machine: {facts()}.")
    for note in notes:
        print(f"- {note}")
