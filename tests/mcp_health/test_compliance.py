import re
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.health import ControlStatus
from services.mcp_health import compliance
from services.mcp_health.compliance import CONTROLS, ControlResult, Finding, Question, Standard

NOW = 1_767_225_600.0
VALID = 900.0
ALL_KEYS = sorted({key for control in CONTROLS for key in control.keys})
statuses = st.sampled_from(ControlStatus)


def everything(status: ControlStatus, at: float = NOW) -> dict[str, Finding]:
    return {key: Finding(status, {"seen": key}, at) for key in ALL_KEYS}


def rows(findings: Mapping[str, Finding], now: float = NOW) -> list[ControlResult]:
    return list(compliance.assess(findings, now, VALID).results)


def of(found: list[ControlResult], question: Question) -> list[ControlResult]:
    return [row for row in found if row.control.question is question]


def test_before_anything_is_measured_every_control_is_unknown_and_there_is_no_score() -> None:
    found = rows({})
    assert {row.status for row in found} == {ControlStatus.UNKNOWN}
    assert compliance.score(found) is None


def test_all_passed_is_a_score_of_a_hundred() -> None:
    assert compliance.score(rows(everything(ControlStatus.PASSED))) == 100.0


def test_all_failed_is_a_score_of_zero_and_not_of_nothing() -> None:
    assert compliance.score(rows(everything(ControlStatus.FAILED))) == 0.0


def test_what_is_unknown_has_not_passed() -> None:
    findings = everything(ControlStatus.UNKNOWN)
    findings[Question.KEY_FILE] = Finding(ControlStatus.PASSED, {}, NOW)
    findings[Question.TRANSPORT] = Finding(ControlStatus.FAILED, {}, NOW)
    found = [row for row in rows(findings) if row.control.standard is Standard.SOC2]
    assert compliance.count(found) == {
        ControlStatus.PASSED: 1,
        ControlStatus.FAILED: 1,
        ControlStatus.UNKNOWN: len(found) - 2,
    }
    assert compliance.score(found) == 10.0


def test_a_hundred_means_that_every_control_was_measured() -> None:
    for key in ALL_KEYS:
        findings = everything(ControlStatus.PASSED)
        del findings[key]
        score = compliance.score(rows(findings))
        assert score is not None
        assert score < 100.0


def test_a_control_of_several_services_fails_with_one_of_them() -> None:
    findings = everything(ControlStatus.PASSED) | {
        "access.dashboard": Finding(ControlStatus.FAILED, {"answers": {"/api/state": 200}}, NOW)
    }
    (row, *_) = of(rows(findings), Question.ACCESS)
    assert row.status is ControlStatus.FAILED
    assert row.evidence["dashboard"] == {"status": "failed", "answers": {"/api/state": 200}}
    assert row.evidence["bridge"]["status"] == "passed"


def test_a_control_of_several_services_is_not_passed_while_one_of_them_is_unknown() -> None:
    findings = everything(ControlStatus.PASSED)
    del findings["access.alert_relay"]
    (row, *_) = of(rows(findings), Question.ACCESS)
    assert row.status is ControlStatus.UNKNOWN
    assert row.evidence["alert_relay"] == {"status": "unknown", "reason": "not measured yet"}


def test_a_failure_outweighs_what_is_unknown() -> None:
    findings = {"access.bridge": Finding(ControlStatus.FAILED, {}, NOW)}
    assert {row.status for row in of(rows(findings), Question.ACCESS)} == {ControlStatus.FAILED}


def test_a_control_is_as_old_as_its_oldest_measurement() -> None:
    findings = everything(ControlStatus.PASSED) | {
        "access.bridge": Finding(ControlStatus.PASSED, {}, NOW - 100)
    }
    (row, *_) = of(rows(findings), Question.ACCESS)
    assert row.measured_at == NOW - 100


def test_a_measurement_that_is_too_old_tells_nothing_and_says_so() -> None:
    found = rows(everything(ControlStatus.PASSED, NOW - VALID - 1))
    assert {row.status for row in found} == {ControlStatus.UNKNOWN}
    (row, *_) = of(found, Question.KEY_FILE)
    assert row.evidence == {"seen": "key_file", "reason": "measured 901 s ago: too old"}
    assert row.measured_at == NOW - VALID - 1


def test_a_measurement_is_good_until_it_is_too_old() -> None:
    assert compliance.score(rows(everything(ControlStatus.PASSED, NOW - VALID))) == 100.0


def test_a_control_that_passed_needs_no_recommendation_and_every_other_one_has_one() -> None:
    assert {row.recommendation for row in rows(everything(ControlStatus.PASSED))} == {None}
    for status in (ControlStatus.FAILED, ControlStatus.UNKNOWN):
        assert all(row.recommendation for row in rows(everything(status)))


@pytest.mark.parametrize("standard", Standard)
def test_every_standard_has_controls(standard: Standard) -> None:
    assert len(compliance.assess({}, NOW, VALID).of(standard)) >= 5


def test_every_question_is_asked_by_a_control() -> None:
    assert {control.question for control in CONTROLS} == set(Question)


def test_no_control_asks_the_same_twice() -> None:
    controls = [(control.standard, control.control, control.question) for control in CONTROLS]
    assert len(controls) == len(set(controls))


def test_a_control_says_what_it_supports_and_claims_no_certificate() -> None:
    for control in CONTROLS:
        assert control.supports.startswith(f"supports {control.standard} {control.control}: ")
        assert not re.search(r"certif|complian", control.supports, re.IGNORECASE)
    assert "neither an audit nor a certificate" in compliance.NOTICE


@pytest.mark.parametrize(
    ("standard", "form"),
    [
        (Standard.SOC2, r"(CC\d\.\d|A1\.\d|C1\.\d|PI1\.\d)"),
        (Standard.PCI_DSS, r"\d{1,2}(\.\d{1,2}){2,3}"),
        (Standard.GDPR, r"Art\. \d{1,2}\(\d\)(\([a-z]\))?"),
        (Standard.HIPAA, r"164\.3\d\d(\([A-Za-z0-9]+\))+"),
    ],
)
def test_controls_are_numbered_as_their_standard_numbers_them(standard: Standard, form: str) -> None:
    for control in CONTROLS:
        if control.standard is standard:
            assert re.fullmatch(form, control.control), control.control


any_findings = st.dictionaries(
    st.sampled_from(ALL_KEYS),
    st.builds(Finding, statuses, st.just({}), st.none() | st.floats(min_value=NOW - 2000, max_value=NOW)),
)


@given(any_findings)
def test_a_score_lies_between_0_and_100_or_there_is_none(findings: dict[str, Finding]) -> None:
    found = rows(findings)
    known = [row for row in found if row.status is not ControlStatus.UNKNOWN]
    score = compliance.score(found)
    assert (score is None) == (not known)
    assert score is None or 0.0 <= score <= 100.0


@given(any_findings)
def test_no_control_passes_without_measurements_that_all_passed(
    findings: dict[str, Finding],
) -> None:
    for row in rows(findings):
        if row.status is ControlStatus.PASSED:
            assert all(findings[key].status is ControlStatus.PASSED for key in row.control.keys)


@given(any_findings, st.sampled_from(ALL_KEYS))
def test_one_more_failure_never_raises_the_number_passed(findings: dict[str, Finding], key: str) -> None:
    before = compliance.count(rows(findings))[ControlStatus.PASSED]
    failed = findings | {key: Finding(ControlStatus.FAILED, {}, NOW)}
    assert compliance.count(rows(failed))[ControlStatus.PASSED] <= before
