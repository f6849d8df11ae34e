"""Times and durations in requests."""

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from services.contracts import times
from services.contracts.approvals import NewApproval
from services.contracts.events import NewEvent
from services.contracts.times import When, seconds_of
from services.kit.field_errors import entries

EVENT = {"type": "task_completion", "title": "Done"}


class Holder(BaseModel):
    at: When


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1_800),
        ("2h", 7_200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1h30m", 5_400),
        ("1h 30m", 5_400),
        ("0.5h", 1_800),
        (" 10m ", 600),
        ("PT30M", 1_800),
        ("P1D", 86_400),
        ("P1DT2H", 93_600),
        ("PT1H30M5.5S", 5_405.5),
        ("P2W", 1_209_600),
        ("366d", times.LONGEST_SECONDS),
    ],
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
    assert Holder(at=text).at == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "soon",
            "30",
            "30 minutes",
            "-5m",
            "m",
            "1h30",
            "1y",
            "P",
            "PT",
            "P1M",
            "PT1D",
            "1e3s",
            "٣m",
        ),
        *("0s", "367d", "P999999999D", "5m!", "1h,30m", "1" * 80 + "s"),
    ],
)
def test_anything_else_is_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        seconds_of(text)
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"at": text})
    (entry,) = entries(caught.value.errors(), Holder, {"at": text})
    assert entry["loc"] == ["at"]
    assert "duration" in entry["msg"]


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    with suppress(ValueError):
        assert 0 < seconds_of(text) <= times.LONGEST_SECONDS


@pytest.mark.parametrize("value", [5, 1.5, True, None, [], {}, "2026-13-01T00:00:00Z", "2026-01-31T08:00:00"])
def test_a_wrong_time_is_refused(value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Holder.model_validate({"at": value})
    (entry,) = entries(caught.value.errors(), Holder, {"at": value})
    assert entry["loc"] == ["at"]
    assert "write a time" in entry["msg"] or "no zone" in entry["msg"]


@given(st.floats(min_value=1e-3, max_value=times.LONGEST_SECONDS))
def test_what_is_stored_is_read_again(seconds: float) -> None:
    held = Holder.model_validate({"at": timedelta(seconds=seconds)})
    assert Holder.model_validate_json(held.model_dump_json()) == held


def test_a_stored_moment_is_read_again() -> None:
    held = Holder(at=datetime(2026, 1, 31, 8, tzinfo=UTC))
    assert json.loads(held.model_dump_json()) == {"at": "2026-01-31T08:00:00Z"}
    assert Holder.model_validate_json(held.model_dump_json()) == held


def test_a_moment_stays_and_a_duration_counts_from_now() -> None:
    assert (
        times.at(datetime(2026, 1, 31, 8, tzinfo=UTC), 5.0)
        == datetime(2026, 1, 31, 8, tzinfo=UTC).timestamp()
    )
    assert times.at(timedelta(minutes=30), 5.0) == 1_805.0


@pytest.mark.parametrize(
    ("given", "seconds"), [("10m", 600.0), (90, 90.0), (5.0, 5.0), ("PT1H", 3_600.0), (None, None)]
)
def test_expires_in_is_seconds_or_a_duration(given: Any, seconds: float | None) -> None:
    assert NewEvent.model_validate(EVENT | {"expires_in": given}).expires_in == seconds
    assert (
        NewApproval.model_validate({"title": "?", "prompt": "?", "expires_in": given}).expires_in == seconds
    )


@pytest.mark.parametrize("given", ["367d", "0s", "soon", "3600", 0, -1, True, 1e9, []])
def test_expires_in_has_bounds(given: Any) -> None:
    with pytest.raises(ValidationError):
        NewEvent.model_validate(EVENT | {"expires_in": given})
    with pytest.raises(ValidationError):
        NewApproval.model_validate({"title": "?", "prompt": "?", "expires_in": given})
