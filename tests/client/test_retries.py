"""Which failures are retried, and after how long."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.errors import (
    ClientError,
    ConfigurationError,
    NoAnswerError,
    NotReachedError,
    ProblemError,
    UnreadableAnswerError,
)
from services.client.retries import Retries

RETRIES = Retries(patience=30, first=0.2, longest=5)


def refused(status: int, retry_after: float | None = None, title: str = "") -> ProblemError:
    return ProblemError(status, title, retry_after=retry_after)


def pause(error: ClientError, *, repeatable: bool, tries: int = 1, elapsed: float = 0) -> float | None:
    return RETRIES.pause(error, repeatable=repeatable, tries=tries, elapsed=elapsed, jitter=1)


@pytest.mark.parametrize("error", [NotReachedError("refused"), refused(503, 1), refused(429, 1)])
def test_what_had_no_effect_is_always_retried(error: ClientError) -> None:
    assert pause(error, repeatable=False) is not None


@pytest.mark.parametrize(
    "error",
    [
        NoAnswerError("cut off"),
        refused(500),
        refused(502),
        refused(504),
        refused(503),
        refused(409, title="In flight"),
    ],
)
def test_an_unknown_outcome_is_retried_only_where_a_repetition_is_harmless(error: ClientError) -> None:
    assert pause(error, repeatable=True) is not None
    assert pause(error, repeatable=False) is None


@pytest.mark.parametrize(
    "error",
    [
        *(refused(status) for status in (400, 401, 403, 404, 409, 413, 422)),
        ConfigurationError(""),
        UnreadableAnswerError(""),
    ],
)
def test_a_refusal_is_final(error: ClientError) -> None:
    assert pause(error, repeatable=True) is None


def test_pauses_double_up_to_the_longest_and_respect_the_service() -> None:
    lost = NotReachedError("refused")
    assert [pause(lost, repeatable=True, tries=tries) for tries in range(1, 8)] == [
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        5,
        5,
    ]
    assert pause(refused(503, 12), repeatable=True) == 12


def test_patience_ends() -> None:
    assert pause(NotReachedError(""), repeatable=True, elapsed=29.9) is None
    assert pause(refused(503, 31), repeatable=True) is None


@given(tries=st.integers(1, 10**9), jitter=st.floats(0, 1))
def test_a_pause_is_never_negative_and_never_too_long(tries: int, jitter: float) -> None:
    endless = Retries(patience=inf)
    found = endless.pause(NotReachedError(""), repeatable=False, tries=tries, elapsed=10.0**9, jitter=jitter)
    assert found is not None
    assert 0 < found <= endless.longest
