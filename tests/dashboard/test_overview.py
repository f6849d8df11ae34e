from typing import Any

import pytest
from pydantic import ValidationError

from services.dashboard import overview
from services.dashboard.overview import Heard
from services.dashboard.readings import CheckList, HealthReport, IncidentPage, MessagePage, Stats
from services.kit.health import Level
from tests.dashboard.suite import START, Suite, healthy

NOW = START + 100


def heard(value: Any, *, age: float = 1.0, failure: str | None = None) -> Heard[Any]:
    return Heard(
        every=5.0, value=value, answered_at=NOW - age, took=0.0123, asked_at=NOW - 0.5, failure=failure
    )


def report(**changes: Any) -> HealthReport:
    return HealthReport.model_validate(healthy() | changes)


def test_a_service_that_was_never_asked_is_unknown() -> None:
    view = overview.service("bridge", Heard(5.0), NOW)
    assert view.level is Level.UNKNOWN
    assert view.answered_at is None
    assert view.response_time_ms is None
    assert view.uptime_seconds is None
    assert view.parts == []


def test_a_service_has_the_level_that_it_tells_itself() -> None:
    view = overview.service("bridge", heard(report(status="degraded")), NOW)
    assert view.level is Level.DEGRADED
    assert view.response_time_ms == 12.3
    assert view.uptime_seconds == 86_400.0
    assert view.answered_at == "2026-01-01T00:01:39.000Z"


def test_a_service_that_never_answered_is_critical_once_it_was_asked() -> None:
    view = overview.service("bridge", Heard(5.0, asked_at=NOW, failure="cannot connect"), NOW)
    assert view.level is Level.CRITICAL
    assert view.failure == "cannot connect"


def test_one_missed_answer_does_not_make_a_service_critical() -> None:
    view = overview.service("bridge", heard(report(), age=6.0, failure="no answer within 3 s"), NOW)
    assert view.level is Level.HEALTHY
    assert view.failure == "no answer within 3 s"


def test_three_missed_answers_do_and_its_parts_are_unknown_again() -> None:
    parts = {"database": {"status": "healthy", "response_time_ms": 1}}
    told = heard(report(components=parts), age=17.0, failure="cannot connect")
    view = overview.service("bridge", told, NOW)
    assert view.level is Level.CRITICAL
    assert [part.level for part in view.parts] == [Level.UNKNOWN]


def test_a_part_keeps_what_was_measured_and_when() -> None:
    parts = {
        "telegram_api": {"status": "healthy", "response_time_ms": 45, "last_check": "2026-01-01T00:00:00Z"}
    }
    part = overview.service("bridge", heard(report(components=parts)), NOW).parts[0]
    assert (part.name, part.level, part.last_check) == (
        "telegram_api",
        Level.HEALTHY,
        "2026-01-01T00:00:00Z",
    )
    assert part.measured == {"response_time_ms": 45}


@pytest.mark.parametrize("told", ["fine", "OK", "", None, 1, ["healthy"]])
def test_a_level_that_nobody_defined_is_unknown_and_never_healthy(told: object) -> None:
    view = overview.service(
        "bridge", heard(report(status=told, components={"x": {"status": told, "last_check": 7}})), NOW
    )
    assert view.level is Level.UNKNOWN
    assert view.parts[0].level is Level.UNKNOWN
    assert view.parts[0].last_check is None


def test_the_services_that_mcp_health_checks_are_its_parts() -> None:
    view = overview.service("mcp-health", heard(report(services={"grafana": {"status": "unhealthy"}})), NOW)
    assert [(part.name, part.level) for part in view.parts] == [("grafana", Level.UNHEALTHY)]


def test_a_check_of_mcp_health_is_told_in_full() -> None:
    row = {
        "id": "grafana",
        "status": "unhealthy",
        "duration_ms": 1.5,
        "last_check": "2026-01-01T00:00:00Z",
        "consecutive_failures": 5,
        "circuit": {"state": "open", "opened_at": "2026-01-01T00:00:00Z"},
        "evidence": {"error": "cannot connect"},
    }
    fine = {"id": "disk", "status": "fine", "circuit": {"state": "closed"}}
    view = overview.service("mcp-health", heard(report(services={"grafana": {"status": "healthy"}})), NOW)
    told = CheckList.model_validate({"checks": [row, fine]})
    grafana, disk = overview.with_checks(view, heard(told), NOW).parts
    assert grafana.level is Level.UNHEALTHY
    assert grafana.measured == {
        "duration_ms": 1.5,
        "error": "cannot connect",
        "consecutive_failures": 5,
        "circuit": "open",
    }
    assert disk.level is Level.UNKNOWN
    assert disk.measured == {"duration_ms": None}
    old = overview.with_checks(view, heard(told, age=60.0), NOW)
    assert {part.level for part in old.parts} == {Level.UNKNOWN}
    assert overview.with_checks(view, Heard(5.0), NOW) is view


def services(*levels: str) -> list[overview.ServiceView]:
    return [overview.service(name, heard(report(status=name)), NOW) for name in levels]


def test_the_overall_level_is_the_worst() -> None:
    assert overview.overall(services("healthy", "degraded", "unhealthy")) is Level.UNHEALTHY
    assert overview.overall(services("healthy", "healthy")) is Level.HEALTHY


def test_the_whole_is_not_healthy_while_a_service_is_unknown() -> None:
    assert overview.overall(services("healthy", "unknown")) is Level.UNKNOWN
    assert overview.overall(services("unknown", "degraded")) is Level.DEGRADED
    assert overview.overall([]) is Level.UNKNOWN


def test_no_number_stands_where_the_bridge_told_none() -> None:
    view = overview.flow(Heard(1.0), NOW)
    told = view.model_dump(exclude={"fresh"})
    assert set(told.values()) == {None}
    assert not view.fresh


def test_numbers_of_a_bridge_that_is_idle_are_zero_or_null_as_it_told_them() -> None:
    view = overview.flow(heard(Stats.model_validate(Suite().stats)), NOW)
    assert view.accepted_total == 0
    assert view.queue_depth == 0
    assert view.delivery_rate_percent is None
    assert view.latency_seconds is None
    assert view.fresh


def test_only_messages_that_are_not_finished_count_as_waiting() -> None:
    queue = {"queued": 3, "sending": 2, "retry_wait": 1, "unknown": 50, "dead_letter": 70}
    view = overview.flow(heard(Stats.model_validate(Suite().stats | {"queue": queue})), NOW)
    assert view.queue_depth == 6
    assert view.queue == queue


def test_a_queue_that_was_not_measured_has_no_depth() -> None:
    view = overview.flow(heard(Stats.model_validate(Suite().stats | {"queue": None})), NOW)
    assert view.queue_depth is None
    assert view.queue is None


def test_old_numbers_are_kept_and_marked_as_old() -> None:
    view = overview.flow(heard(Stats.model_validate(Suite().stats), age=60.0, failure="cannot connect"), NOW)
    assert view.accepted_total == 0
    assert not view.fresh
    assert view.failure == "cannot connect"


def test_messages_and_incidents_are_null_until_they_were_told() -> None:
    assert overview.recent(Heard(1.0)).items is None
    assert overview.incidents(Heard(1.0), NOW).items is None
    page = MessagePage.model_validate({"items": [], "next_cursor": None})
    assert overview.recent(heard(page)).items == ()
    assert overview.incidents(heard(IncidentPage.model_validate({"incidents": []})), NOW).items == ()


@pytest.mark.parametrize(
    "answer",
    [{}, [], {"accepted_total": "many"}, Suite().stats | {"queue": [1]}, Suite().stats | {"rates": 3}],
)
def test_an_answer_of_another_shape_is_refused(answer: object) -> None:
    with pytest.raises(ValidationError):
        Stats.model_validate(answer)
