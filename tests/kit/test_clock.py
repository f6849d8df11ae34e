import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.clock import SystemClock, from_rfc3339, rfc3339

NEW_YEAR = 1_767_225_600.0


def test_a_time_is_written_in_utc_with_milliseconds_and_a_z() -> None:
    assert rfc3339(NEW_YEAR + 0.5) == "2026-01-01T00:00:00.500Z"


def test_whole_seconds_keep_their_milliseconds_so_that_texts_sort_as_times_do() -> None:
    assert rfc3339(NEW_YEAR) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:00:00.000Z",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T01:00:00+01:00",
        "2025-12-31T18:30:00-05:30",
    ],
)
def test_a_time_is_read_from_any_zone(text: str) -> None:
    assert from_rfc3339(text) == NEW_YEAR


def test_a_time_without_a_zone_is_refused_and_the_error_says_what_to_write() -> None:
    with pytest.raises(ValueError, match="no zone: write it with Z"):
        from_rfc3339("2026-01-01T00:00:00")


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01T00:00:00Z", "1767225600", "2026-01-01T25:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat|hour|month"):
        from_rfc3339(text)


@given(
    st.floats()
    | st.integers()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text()
    | st.none()
    | st.binary()
    | st.sampled_from([253_402_300_799.0, 253_402_300_800.0, -62_135_596_800.0, -62_135_596_801.0, 1e12])
)
def test_any_stored_value_is_written_as_a_time(value: Any) -> None:
    assert len(rfc3339(value)) == len("2026-01-01T00:00:00.000Z")
    assert from_rfc3339(rfc3339(value)) >= -62_135_596_800.0


def test_a_time_outside_the_calendar_is_its_first_or_last_second() -> None:
    assert rfc3339(1e12) == rfc3339(float("inf")) == "9999-12-31T23:59:59.000Z"
    assert rfc3339(-1e12) == rfc3339(float("nan")) == "0001-01-01T00:00:00.000Z"


@given(st.integers(min_value=0, max_value=4_102_444_800_000))
def test_a_written_time_is_read_back_to_the_millisecond(milliseconds: int) -> None:
    assert from_rfc3339(rfc3339(milliseconds / 1000)) == pytest.approx(milliseconds / 1000, abs=0.001)


@given(st.lists(st.floats(min_value=0, max_value=4_102_444_800), min_size=2, max_size=20))
def test_texts_sort_as_the_times_do(times: list[float]) -> None:
    assert [rfc3339(each) for each in sorted(times)] == sorted(rfc3339(each) for each in times)


def test_the_system_clock_tells_the_machine_s_time() -> None:
    before = time.time()
    told = SystemClock().time()
    assert before <= told <= time.time()


def test_the_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(100)]
    assert readings == sorted(readings)
