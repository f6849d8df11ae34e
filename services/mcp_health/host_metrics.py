"""Memory, disk, CPU and event loop of the host: the container if it has limits, else the machine."""

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
#: A shorter time between two CPU samples gives mostly rounding errors.
SHORTEST_CPU_SECONDS = 0.5


class Usage(NamedTuple):
    """Bytes in use, and bytes in total (memory) or free (disk)."""

    used: int
    rest: int


def memory(cgroup: Path = CGROUP) -> Usage:
    """Returns bytes in use and in total; cached file pages count as free, as in `docker stats`."""
    machine = psutil.virtual_memory()
    limit, used = _number(cgroup / "memory.max"), _number(cgroup / "memory.current")
    if limit is None or used is None or limit >= machine.total:
        return Usage(machine.total - machine.available, machine.total)
    return Usage(max(0, used - _inactive_file(cgroup / "memory.stat")), limit)


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


def disk(folder: Path) -> Usage:
    """Returns bytes used and free of the folder's file system; the folder need not exist yet."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    usage = shutil.disk_usage(place)
    return Usage(usage.used, usage.free)


async def loop_lag() -> float:
    """Measures how late the event loop wakes, seconds."""
    before = time.perf_counter()
    await asyncio.sleep(LAG_PROBE_SECONDS)
    return max(0.0, time.perf_counter() - before - LAG_PROBE_SECONDS)


class CpuTimes(NamedTuple):
    """CPU time of all cores since boot, seconds; ``at`` is the time of the sample, monotonic."""

    at: float
    busy: float
    total: float


def cpu_times(at: float) -> CpuTimes:
    """Reads the CPU times; ``at`` is the monotonic time of the sample, seconds."""
    times = psutil.cpu_times()
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # user and nice include them
    total = sum(times) - guests
    return CpuTimes(at, total - times.idle - getattr(times, "iowait", 0.0), total)


class CpuUsage:
    """Average CPU usage over the last ``CPU_WINDOW_SECONDS``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples = deque([cpu_times(clock.monotonic())])

    @property
    def first(self) -> CpuTimes:
        """The sample at the start of the averaged interval."""
        return self._samples[0]

    def average(self) -> tuple[float | None, float]:
        """Returns percent of all cores and the measured seconds; None if too little time has passed."""
        now = cpu_times(self._clock.monotonic())
        return self.add(now)

    def add(self, now: CpuTimes) -> tuple[float | None, float]:
        """Adds a sample and returns the average; the oldest sample spans the whole window."""
        self._samples.append(now)
        while len(self._samples) > 2 and now.at - self._samples[1].at >= CPU_WINDOW_SECONDS:  # noqa: PLR2004 - the ends of an interval
            self._samples.popleft()
        first = self.first
        spent = now.total - first.total
        if now.at - first.at < SHORTEST_CPU_SECONDS or spent <= 0:
            return None, now.at - first.at
        return 100 * (now.busy - first.busy) / spent, now.at - first.at
