"""What makes a run of the fuzzer a failure."""

from collections import Counter

import pytest

from tests.fuzz.__main__ import problems, table
from tests.fuzz.run import Report

#: An operation that needs a key, and one that does not.
DOCUMENTED = {"GET /messages": True, "POST /login": False}


def report(*answers: Counter[int]) -> Report:
    return Report("bridge", DOCUMENTED, dict(zip(DOCUMENTED, answers, strict=True)))


def test_a_run_that_reached_every_operation_is_none() -> None:
    good = report(Counter({200: 5, 404: 1, 401: 2}), Counter({401: 9, 422: 3}))
    assert problems(good) == []
    assert "2/2" in table([good])


@pytest.mark.parametrize("status", [401, 403, 404, 405, 422, 429])
def test_an_operation_that_only_refused_was_not_reached(status: int) -> None:
    (problem,) = problems(report(Counter({status: 500}), Counter({303: 1})))
    assert problem == "not reached: GET /messages"


def test_an_operation_without_a_request_was_not_reached() -> None:
    missed = Report("bridge", DOCUMENTED, {"POST /login": Counter({401: 1})})
    assert problems(missed) == ["not reached: GET /messages"]


def test_one_answer_with_status_500_is_a_failure() -> None:
    failed = report(Counter({200: 999, 500: 1}), Counter({303: 1}))
    assert problems(failed) == ["answers with status 500: 1"]


def test_a_finding_and_an_error_of_the_fuzzer_are_failures() -> None:
    found = report(Counter({200: 1}), Counter({303: 1}))
    found.failures["status_code_conformance", "GET /messages"] = "418 is not documented"
    found.errors.append("coverage GET /messages: no answer")
    assert problems(found) == [
        "status_code_conformance: GET /messages\n418 is not documented",
        "coverage GET /messages: no answer",
    ]
