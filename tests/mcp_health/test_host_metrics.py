from pathlib import Path

import psutil
import pytest

from services.mcp_health import host_metrics
from services.mcp_health.checks import CPU_WINDOW_SECONDS
from services.mcp_health.host_metrics import CpuTimes, CpuUsage
from tests.servers import ManualClock

MIB = 2**20


def cgroup(folder: Path, limit: str, current: str, inactive_file: int | None = 0) -> Path:
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{current}\n")
    if inactive_file is not None:
        (folder / "memory.stat").write_text(f"anon 1\nfile 2\ninactive_file {inactive_file}\nslab 3\n")
    return folder


def test_a_container_with_a_limit_counts_against_that_limit(tmp_path: Path) -> None:
    used, total = host_metrics.memory(cgroup(tmp_path, str(512 * MIB), str(100 * MIB)))
    assert (used, total) == (100 * MIB, 512 * MIB)


def test_cached_file_pages_are_not_in_use(tmp_path: Path) -> None:
    used, _ = host_metrics.memory(cgroup(tmp_path, str(512 * MIB), str(500 * MIB), inactive_file=450 * MIB))
    assert used == 50 * MIB


def test_a_container_that_does_not_tell_its_cache_counts_all_of_it(tmp_path: Path) -> None:
    used, _ = host_metrics.memory(cgroup(tmp_path, str(512 * MIB), str(500 * MIB), inactive_file=None))
    assert used == 500 * MIB


def test_a_container_without_a_limit_has_the_machine_s_memory(tmp_path: Path) -> None:
    used, total = host_metrics.memory(cgroup(tmp_path, "max", str(100 * MIB)))
    assert total == psutil.virtual_memory().total
    assert 0 < used < total


def test_a_limit_above_the_machine_s_memory_is_none(tmp_path: Path) -> None:
    beyond = str(2 * psutil.virtual_memory().total)
    assert host_metrics.memory(cgroup(tmp_path, beyond, "1")).rest == psutil.virtual_memory().total


def test_a_machine_without_control_groups_has_its_own_memory(tmp_path: Path) -> None:
    used, total = host_metrics.memory(tmp_path / "nothing here")
    assert total == psutil.virtual_memory().total
    assert 0 < used < total


def test_the_disk_is_that_of_the_folder(tmp_path: Path) -> None:
    used, free = host_metrics.disk(tmp_path)
    assert used > 0
    assert free > 0


def test_a_folder_that_is_not_made_yet_has_the_disk_of_the_one_that_will_hold_it(tmp_path: Path) -> None:
    there = host_metrics.disk(tmp_path)
    later = host_metrics.disk(tmp_path / "not" / "made" / "yet")
    assert later.used == pytest.approx(there.used, rel=0.05)


async def test_the_event_loop_s_lag_is_measured_and_never_negative() -> None:
    assert 0.0 <= await host_metrics.loop_lag() < 5.0


def test_the_processor_s_clock_runs_and_is_never_busier_than_its_total() -> None:
    now = host_metrics.cpu_times(5.0)
    assert now.at == 5.0
    assert 0 < now.busy <= now.total


def test_right_after_the_start_nothing_is_known_of_the_processor() -> None:
    percent, seconds = CpuUsage(ManualClock()).average()
    assert percent is None
    assert seconds == 0.0


def readings(clock: ManualClock) -> tuple[CpuUsage, CpuTimes]:
    cpu = CpuUsage(clock)
    return cpu, cpu.first


def after(start: CpuTimes, seconds: float, busy_share: float, cores: int = 2) -> CpuTimes:
    return CpuTimes(
        start.at + seconds,
        start.busy + seconds * cores * busy_share,
        start.total + seconds * cores,
    )


def test_the_average_is_of_all_cores_since_the_start() -> None:
    cpu, start = readings(ManualClock())
    assert cpu.add(after(start, 10, 0.25)) == pytest.approx((25.0, 10.0))


def test_what_is_older_than_five_minutes_no_longer_counts() -> None:
    cpu, start = readings(ManualClock())
    busy_until = after(start, 100, 1.0)
    cpu.add(busy_until)
    percent, seconds = cpu.add(after(busy_until, CPU_WINDOW_SECONDS, 0.0))
    assert (percent, seconds) == pytest.approx((0.0, CPU_WINDOW_SECONDS))


def test_the_average_always_spans_the_whole_window_once_that_long_was_measured() -> None:
    cpu, start = readings(ManualClock())
    now = start
    for number in range(1, 200):
        now = after(now, 5, 0.5)
        percent, seconds = cpu.add(now)
        assert percent == pytest.approx(50.0)
        assert seconds == min(number * 5, CPU_WINDOW_SECONDS)


def test_a_clock_of_the_processor_that_stands_still_tells_nothing() -> None:
    cpu, start = readings(ManualClock())
    assert cpu.add(CpuTimes(start.at + 10, start.busy, start.total))[0] is None
