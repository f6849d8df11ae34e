"""Times and durations as people write and read them."""

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.cli import times
from services.contracts.times import LONGEST_SECONDS, seconds_of

NOW = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("2h", 7_200),
        ("1h30m", 5_400),
        ("3d", 259_200),
        ("1w", 604_800),
        ("0.5h", 1_800),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 minutes", "-5m", "0s", "1y", "9999d", "5m!", "1e3s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(text)


@given(st.text())
def test_any_text_is_a_duration_or_refused(text: str) -> None:
    with suppress(ValueError):
        assert 0 < seconds_of(text) <= LONGEST_SECONDS


def test_a_time_is_read_in_the_zone_of_the_machine() -> None:
    assert times.moment("2h", NOW) == NOW - timedelta(hours=2)
    assert times.later("2h", NOW) == NOW + timedelta(hours=2)
    assert times.moment("2026-01-30", NOW) == datetime(2026, 1, 29, 23, tzinfo=UTC)
    assert times.moment("2026-01-30T08:00:00Z", NOW) == datetime(2026, 1, 30, 8, tzinfo=UTC)


@pytest.mark.parametrize("text", ["yesterday", "", "31.1.2026", "2026-13-01"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a time such as 2h, 2026-01-31"):
        times.moment(text, NOW)


def test_a_time_is_shown_in_the_zone_of_the_machine() -> None:
    assert times.local("2026-01-31T08:00:00.500Z", NOW) == "09:00:00"
    assert times.local("2026-01-30T23:30:00Z", NOW) == "00:30:00"
    assert times.local("2026-01-30T08:00:00Z", NOW) == "2026-01-30 09:00:00"
    assert times.local(None, NOW) == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.0124, "12 ms"),
        (1.234, "1.23 s"),
        (90, "90 s"),
        (300, "5 min"),
        (9_000, "2.5 h"),
        (259_200, "3 d"),
    ],
)
def test_a_length_is_short(seconds: float, text: str) -> None:
    assert times.length(seconds) == text
