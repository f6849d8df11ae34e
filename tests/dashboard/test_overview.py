from typing import Any

import pytest
from pydantic import ValidationError

from services.contracts.health import BridgeHealth, CheckList, SuiteHealth
from services.contracts.incidents import IncidentPage
from services.contracts.messages import Page, Stats
from services.dashboard import overview
from services.dashboard.overview import Polled
from services.kit.health import Level
from tests.dashboard.suite import START, Suite, bridge_healthy, check_row, suite_healthy

NOW = START + 100


def polled(value: Any, *, age: float = 1.0, failure: str | None = None) -> Polled[Any]:
    return Polled(
        every=5.0, value=value, answered_at=NOW - age, duration=0.0123, polled_at=NOW - 0.5, failure=failure
    )


def report(**changes: Any) -> BridgeHealth:
    return BridgeHealth.model_validate(bridge_healthy() | changes)


def suite_report(**services: Any) -> SuiteHealth:
    return SuiteHealth.model_validate(suite_healthy(**services))


def test_a_service_that_was_never_asked_is_unknown() -> None:
    view = overview.service("bridge", Polled(5.0), NOW)
    assert view.level is Level.UNKNOWN
    assert view.answered_at is None
    assert view.response_time_ms is None
    assert view.uptime_seconds is None
    assert view.parts == []


def test_a_service_has_the_level_that_it_tells_itself() -> None:
    view = overview.service("bridge", polled(report(status="degraded")), NOW)
    assert view.level is Level.DEGRADED
    assert view.response_time_ms == 12.3
    assert view.uptime_seconds == 86_400.0
    assert view.answered_at == "2026-01-01T00:01:39.000Z"


def test_a_service_that_never_answered_is_critical_once_it_was_asked() -> None:
    view = overview.service("bridge", Polled(5.0, polled_at=NOW, failure="cannot connect"), NOW)
    assert view.level is Level.CRITICAL
    assert view.failure == "cannot connect"


def test_one_missed_answer_does_not_make_a_service_critical() -> None:
    view = overview.service("bridge", polled(report(), age=6.0, failure="no answer within 3 s"), NOW)
    assert view.level is Level.HEALTHY
    assert view.failure == "no answer within 3 s"


def test_three_missed_answers_do_and_its_parts_are_unknown_again() -> None:
    parts = {"database": {"status": "healthy", "response_time_ms": 1}}
    old = polled(report(components=parts), age=17.0, failure="cannot connect")
    view = overview.service("bridge", old, NOW)
    assert view.level is Level.CRITICAL
    assert [part.level for part in view.parts] == [Level.UNKNOWN]


def test_a_part_keeps_what_was_measured_and_when() -> None:
    parts = {
        "telegram_api": {"status": "healthy", "response_time_ms": 45, "last_check": "2026-01-01T00:00:00Z"}
    }
    part = overview.service("bridge", polled(report(components=parts)), NOW).parts[0]
    assert (part.name, part.level, part.last_check) == (
        "telegram_api",
        Level.HEALTHY,
        "2026-01-01T00:00:00Z",
    )
    assert part.measured == {"response_time_ms": 45}


@pytest.mark.parametrize("status", ["fine", "OK", ""])
def test_a_level_that_is_not_defined_is_unknown_and_never_healthy(status: str) -> None:
    view = overview.service(
        "bridge", polled(report(status=status, components={"x": {"status": status}})), NOW
    )
    assert view.level is Level.UNKNOWN
    assert view.parts[0].level is Level.UNKNOWN
    assert view.parts[0].last_check is None


def test_the_services_that_mcp_health_checks_are_its_parts() -> None:
    view = overview.service("mcp-health", polled(suite_report(grafana={"status": "unhealthy"})), NOW)
    assert [(part.name, part.level) for part in view.parts] == [("grafana", Level.UNHEALTHY)]


def test_a_check_of_mcp_health_is_told_in_full() -> None:
    row = check_row(
        "grafana",
        status="unhealthy",
        duration_ms=1.5,
        last_check="2026-01-01T00:00:00Z",
        consecutive_failures=5,
        circuit={"state": "open", "opened_at": "2026-01-01T00:00:00Z"},
        evidence={"error": "cannot connect"},
    )
    unknown = check_row("disk", status="fine")
    view = overview.service("mcp-health", polled(suite_report(grafana={"status": "healthy"})), NOW)
    answer = {"status": "unhealthy", "timestamp": "2026-01-01T00:00:00Z", "checks": [row, unknown]}
    checks = CheckList.model_validate(answer)
    grafana, disk = overview.with_checks(view, polled(checks), NOW).parts
    assert grafana.level is Level.UNHEALTHY
    assert grafana.measured == {
        "duration_ms": 1.5,
        "error": "cannot connect",
        "consecutive_failures": 5,
        "circuit": "open",
    }
    assert disk.level is Level.UNKNOWN
    assert disk.measured == {"duration_ms": None}
    old = overview.with_checks(view, polled(checks, age=60.0), NOW)
    assert {part.level for part in old.parts} == {Level.UNKNOWN}
    assert overview.with_checks(view, Polled(5.0), NOW) is view


def services(*levels: str) -> list[overview.ServiceView]:
    return [overview.service(name, polled(report(status=name)), NOW) for name in levels]


def test_the_overall_level_is_the_worst() -> None:
    assert overview.overall(services("healthy", "degraded", "unhealthy")) is Level.UNHEALTHY
    assert overview.overall(services("healthy", "healthy")) is Level.HEALTHY


def test_the_whole_is_not_healthy_while_a_service_is_unknown() -> None:
    assert overview.overall(services("healthy", "unknown")) is Level.UNKNOWN
    assert overview.overall(services("unknown", "degraded")) is Level.DEGRADED
    assert overview.overall([]) is Level.UNKNOWN


def test_no_number_stands_where_the_bridge_told_none() -> None:
    view = overview.flow(Polled(1.0), NOW)
    assert set(view.model_dump(exclude={"fresh"}).values()) == {None}
    assert not view.fresh


def test_numbers_of_a_bridge_that_is_idle_are_zero_or_null_as_it_told_them() -> None:
    view = overview.flow(polled(Stats.model_validate(Suite().stats)), NOW)
    assert view.accepted_total == 0
    assert view.queue_depth == 0
    assert view.delivery_rate_percent is None
    assert view.latency_seconds is None
    assert view.fresh


def test_only_messages_that_are_not_finished_count_as_waiting() -> None:
    queue = {"queued": 3, "sending": 2, "retry_wait": 1, "unknown": 50, "dead_letter": 70}
    view = overview.flow(polled(Stats.model_validate(Suite().stats | {"queue": queue})), NOW)
    assert view.queue_depth == 6
    assert view.queue == queue


def test_a_queue_that_was_not_measured_has_no_depth() -> None:
    view = overview.flow(polled(Stats.model_validate(Suite().stats | {"queue": None})), NOW)
    assert view.queue_depth is None
    assert view.queue is None


def test_old_numbers_are_kept_and_marked_as_old() -> None:
    view = overview.flow(polled(Stats.model_validate(Suite().stats), age=60.0, failure="cannot connect"), NOW)
    assert view.accepted_total == 0
    assert not view.fresh
    assert view.failure == "cannot connect"


def test_messages_and_incidents_are_null_until_they_were_told() -> None:
    assert overview.recent(Polled(1.0)).items is None
    assert overview.incidents(Polled(1.0), NOW).items is None
    page = Page.model_validate({"items": [], "next_cursor": None})
    assert overview.recent(polled(page)).items == []
    incidents = IncidentPage.model_validate({"incidents": [], "next_cursor": None})
    assert overview.incidents(polled(incidents), NOW).items == []


@pytest.mark.parametrize(
    "answer",
    [{}, [], {"accepted_total": "many"}, Suite().stats | {"queue": [1]}, Suite().stats | {"rates": 3}],
)
def test_an_answer_of_another_shape_is_refused(answer: object) -> None:
    with pytest.raises(ValidationError):
        Stats.model_validate(answer)
