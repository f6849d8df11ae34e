"""How urgent an alert's severity label is."""

import pytest

from services.alert_relay.incidents.severity import Urgency, urgency_of, worst
from tests.alert_relay import payloads
from tests.alert_relay.payloads import alert, webhook


def test_a_warning_and_a_severity_nobody_knows_ring_in_their_turn() -> None:
    assert urgency_of("warning") is Urgency.NORMAL
    assert urgency_of("p3-teapot") is Urgency.NORMAL
    assert urgency_of("") is Urgency.NORMAL


@pytest.mark.parametrize(
    ("severities", "urgency"),
    [
        (["p0", "p1", "p2", "sev0", "sev1", "sev-2", "s1", "page", "error", "critical"], Urgency.LOUD),
        (["p3", "sev3", "s3", "warning", "ticket"], Urgency.NORMAL),
        (["p4", "p5", "sev4", "sev-5", "info"], Urgency.QUIET),
    ],
)
def test_scales_with_numbers_are_read(severities: list[str], urgency: Urgency) -> None:
    assert {urgency_of(each) for each in severities} == {urgency}


def test_the_severity_label_is_read_whatever_its_case() -> None:
    (listed,) = payloads.alert_group(webhook(alert(severity="Critical"))).alerts

    assert urgency_of(listed.severity) is Urgency.LOUD


def test_the_worst_severity_is_the_most_urgent_one() -> None:
    assert worst(["info", "critical", "warning"]) == "critical"
    assert worst([]) == ""
