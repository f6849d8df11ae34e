"""Health reports as consumers read them: unknown levels and fields are no error, malformed ones are."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from services.contracts.health import BridgeHealth, HealthReport, ReportedLevel, SuiteHealth
from services.kit.clock import SystemClock
from services.kit.health import Health, Level, Measurement

REPORT: dict[str, Any] = {"status": "healthy", "timestamp": "2026-01-01T00:00:00.000Z", "version": "1.0.0"}
level = TypeAdapter[Level](ReportedLevel)


@given(st.text(max_size=20))
def test_a_name_is_a_level_or_unknown(name: str) -> None:
    assert level.validate_python(name) is (Level(name) if name in set(Level) else Level.UNKNOWN)


@pytest.mark.parametrize("status", [None, 1, ["healthy"]])
def test_a_status_that_is_no_text_is_refused_and_never_healthy(status: object) -> None:
    with pytest.raises(ValidationError, match="status"):
        HealthReport.model_validate(REPORT | {"status": status})
    with pytest.raises(ValidationError, match=r"components\.database\.status"):
        HealthReport.model_validate(REPORT | {"components": {"database": {"status": status}}})


@pytest.mark.parametrize("time", [7, "yesterday", "2026-01-01T00:00:00"])
def test_a_time_that_is_none_is_refused(time: object) -> None:
    database = {"status": "healthy", "last_check": time}
    with pytest.raises(ValidationError, match=r"components\.database\.last_check"):
        HealthReport.model_validate(REPORT | {"components": {"database": database}})


def test_fields_of_a_newer_service_are_ignored_and_measured_values_are_kept() -> None:
    database = {"status": "healthy", "last_check": None, "response_time_ms": 1.5}
    report = HealthReport.model_validate(REPORT | {"components": {"database": database}, "new": 1})

    assert not hasattr(report, "new")
    assert report.components["database"].measured == {"response_time_ms": 1.5}


async def test_a_component_of_the_kit_is_read_as_it_was_measured() -> None:
    async def probe() -> Measurement:
        return Measurement(Level.DEGRADED, {"queue_depth": 7})

    health = Health(SystemClock())
    health.add("message_queue", probe)
    await health.measure(health.components["message_queue"])
    written = {name: part.report() for name, part in health.components.items()}
    read = HealthReport.model_validate(REPORT | {"components": written}).components["message_queue"]

    assert (read.status, read.measured) == (Level.DEGRADED, {"queue_depth": 7})
    assert read.last_check == written["message_queue"]["last_check"]


@pytest.mark.parametrize(("model", "missing"), [(BridgeHealth, "metrics"), (SuiteHealth, "services")])
def test_a_report_of_another_service_is_refused(model: type[HealthReport], missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        model.model_validate(REPORT)
