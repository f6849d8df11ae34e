"""What there is to use where this runs: the container where it has limits, else the machine."""

import asyncio
import shutil
import time
from collections import deque
from pathlib import Path
from typing import NamedTuple

import psutil

from services.kit.clock import Clock
from services.mcp_health.checks import CPU_WINDOW_SECONDS

CGROUP = Path("/sys/fs/cgroup")
LAG_PROBE_SECONDS = 0.05
#: Less than this between two readings of the processor's clock is mostly rounding.
SHORTEST_CPU_SECONDS = 0.5


class Used(NamedTuple):
    used: int
    rest: int


def memory(cgroup: Path = CGROUP) -> Used:
    """Bytes in use and bytes in total; cached file pages count as free, as `docker stats` has it."""
    machine = psutil.virtual_memory()
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None or limit >= machine.total:
        return Used(machine.total - machine.available, machine.total)
    return Used(max(0, used - _inactive_file(cgroup / "memory.stat")), limit)


def _number(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(text) if text.isdigit() else None


def _inactive_file(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def disk(folder: Path) -> Used:
    """Bytes used and free of the file system that holds the folder, or will once it is made."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return Used(usage.used, usage.free)


async def loop_lag() -> float:
    """Seconds that the event loop wakes late, now."""
    before = time.perf_counter()
    await asyncio.sleep(LAG_PROBE_SECONDS)
    return max(0.0, time.perf_counter() - before - LAG_PROBE_SECONDS)


class Load(NamedTuple):
    at: float
    busy: float
    total: float


def load(at: float) -> Load:
    """The processor's own clock: seconds since boot that all cores were busy, and in total."""
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # counted in user and nice
    total = sum(times) - guests
    return Load(at, total - times.idle - getattr(times, "iowait", 0.0), total)


class Cpu:
    """The average load over the last minutes, from the processor's own clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._loads = deque([load(clock.monotonic())])

    @property
    def first(self) -> Load:
        """Where the interval that is averaged over begins."""
        return self._loads[0]

    def average(self) -> tuple[float | None, float]:
        """Percent of all cores and the seconds measured; none when too little time has passed."""
        now = load(self._clock.monotonic())
        return self.add(now)

    def add(self, now: Load) -> tuple[float | None, float]:
        """The average up to this reading; one reading that is older than the window is kept."""
        self._loads.append(now)
        while len(self._loads) > 2 and now.at - self._loads[1].at >= CPU_WINDOW_SECONDS:  # noqa: PLR2004 - the ends of an interval
            self._loads.popleft()
        first = self.first
        spent = now.total - first.total
        if now.at - first.at < SHORTEST_CPU_SECONDS or spent <= 0:
            return None, now.at - first.at
        return 100 * (now.busy - first.busy) / spent, now.at - first.at
