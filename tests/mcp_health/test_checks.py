from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.contracts.health import HealthReport
from services.kit.clock import rfc3339
from services.kit.health import Level
from services.mcp_health import checks
from services.mcp_health.responses import (
    AlertmanagerAlert,
    AlertmanagerSilence,
    AlertmanagerStatus,
    GrafanaHealth,
    JaegerServices,
    PrometheusAlerts,
    PrometheusTargets,
)
from tests.mcp_health.neighbours import NOW, alert, health, target

GIB = 2**30


def report(status: str = "healthy", **components: Any) -> HealthReport:
    return HealthReport.model_validate(health(status, **components))


def measured_ago(seconds: float, status: str = "healthy") -> dict[str, Any]:
    return {"status": status, "last_check": rfc3339(NOW - seconds)}


def targets(*found: dict[str, Any]) -> PrometheusTargets:
    return PrometheusTargets.model_validate({"data": {"activeTargets": found}})


def alerts(*found: dict[str, Any]) -> PrometheusAlerts:
    return PrometheusAlerts.model_validate({"data": {"alerts": found}})


class TestOwnService:
    @pytest.mark.parametrize("level", ["healthy", "degraded", "unhealthy", "critical", "unknown"])
    def test_its_own_level_passes_on(self, level: str) -> None:
        assert checks.own_service(report(level)).level is Level(level)

    def test_a_level_that_we_do_not_know_is_unknown_and_not_healthy(self) -> None:
        assert checks.own_service(report("splendid")).level is Level.UNKNOWN

    def test_its_components_are_the_evidence(self) -> None:
        reading = checks.own_service(report("degraded", database="healthy", redis="degraded", queue="odd"))
        assert reading.measured["components"] == {
            "database": "healthy",
            "redis": "degraded",
            "queue": "unknown",
        }
        assert reading.measured["version"] == "0.1.0"

    def test_a_reading_older_than_a_minute_makes_it_degraded_and_is_named(self) -> None:
        reading = checks.own_service(report(queue=measured_ago(61), database=measured_ago(60)))
        assert reading.level is Level.DEGRADED
        assert reading.measured["stale"] == ["queue"]

    def test_an_old_reading_makes_nothing_better(self) -> None:
        assert checks.own_service(report("critical", queue=measured_ago(3600))).level is Level.CRITICAL

    def test_a_component_that_was_never_measured_is_not_stale(self) -> None:
        reading = checks.own_service(report(redis={"status": "unknown", "last_check": None}))
        assert reading.level is Level.HEALTHY
        assert reading.measured["stale"] == []

    def test_ages_are_told_by_its_own_clock_so_that_ours_may_differ(self) -> None:
        later = {**health(), "timestamp": rfc3339(NOW + 86_400)}
        later["components"] = {"queue": {"status": "healthy", "last_check": rfc3339(NOW + 86_399)}}
        assert checks.own_service(HealthReport.model_validate(later)).level is Level.HEALTHY

    @pytest.mark.parametrize("name", ["mcp_health", "mcp-health", "mcp_health_health"])
    def test_what_it_says_of_us_does_not_come_back_to_us(self, name: str) -> None:
        reading = checks.own_service(report("unhealthy", **{name: "unhealthy"}, bridge="healthy"))
        assert reading.level is Level.HEALTHY
        assert reading.measured["components"] == {"bridge": "healthy"}

    def test_what_it_says_of_others_still_counts_when_it_speaks_of_us(self) -> None:
        reading = checks.own_service(report("unhealthy", mcp_health="healthy", bridge="unhealthy"))
        assert reading.level is Level.UNHEALTHY


class TestPrometheus:
    def test_it_is_healthy_when_it_answers_whatever_it_watches(self) -> None:
        reading = checks.prometheus(targets(target("down")), alerts(alert("BridgeDown", "critical")))
        assert reading.level is Level.HEALTHY
        assert reading.measured == {"targets": 1, "alerts": 1}

    def test_every_target_up_is_healthy(self) -> None:
        reading = checks.scrape_targets(targets(target(), target(job="dashboard")))
        assert reading.level is Level.HEALTHY
        assert (reading.measured["up"], reading.measured["down"]) == (2, 0)

    def test_a_target_that_is_down_is_named_with_its_error(self) -> None:
        reading = checks.scrape_targets(targets(target(), target("down", "redis", "connection refused")))
        assert reading.level is Level.DEGRADED
        assert reading.measured["down_targets"] == [
            {"job": "redis", "url": "http://redis:8080/metrics", "error": "connection refused"}
        ]

    def test_no_target_at_all_is_degraded_for_nothing_is_watched(self) -> None:
        assert checks.scrape_targets(targets()).level is Level.DEGRADED

    def test_targets_that_were_not_scraped_yet_are_unknown(self) -> None:
        assert checks.scrape_targets(targets(target("unknown"))).level is Level.UNKNOWN

    def test_a_hundred_targets_down_do_not_make_a_hundred_lines(self) -> None:
        reading = checks.scrape_targets(targets(*[target("down", f"job{n}") for n in range(100)]))
        assert reading.measured["down"] == 100
        assert len(reading.measured["down_targets"]) == checks.NAMED_AT_MOST

    def test_a_critical_alert_degrades(self) -> None:
        reading = checks.firing_alerts(alerts(alert("Watchdog", "none"), alert("DatabaseDown", "critical")))
        assert reading.level is Level.DEGRADED
        assert reading.measured["names"] == ["DatabaseDown", "Watchdog"]
        assert reading.measured["by_severity"] == {"none": 1, "critical": 1}

    def test_a_warning_is_evidence_and_does_not_degrade(self) -> None:
        reading = checks.firing_alerts(alerts(alert("HighMemoryUsage")))
        assert reading.level is Level.HEALTHY
        assert reading.measured["firing"] == 1

    def test_a_critical_alert_that_is_pending_does_not_degrade_yet(self) -> None:
        reading = checks.firing_alerts(alerts(alert("DatabaseDown", "critical", "pending")))
        assert reading.level is Level.HEALTHY
        assert (reading.measured["firing"], reading.measured["pending"]) == (0, 1)


class TestOthers:
    @pytest.mark.parametrize(
        ("cluster", "level"),
        [("ready", Level.HEALTHY), ("disabled", Level.HEALTHY), ("settling", Level.DEGRADED)],
    )
    def test_alertmanager_is_as_its_cluster_is(self, cluster: str, level: Level) -> None:
        status = AlertmanagerStatus.model_validate(
            {"cluster": {"status": cluster}, "versionInfo": {"version": "0.28.1"}}
        )
        assert checks.alertmanager(status, [], []).level is level

    def test_alertmanager_tells_how_many_alerts_and_active_silences_it_has(self) -> None:
        status = AlertmanagerStatus.model_validate(
            {"cluster": {"status": "ready"}, "versionInfo": {"version": "0.28.1"}}
        )
        some = [AlertmanagerAlert.model_validate({"status": {"state": s}}) for s in ("active", "active")]
        quiet = [AlertmanagerSilence.model_validate({"status": {"state": s}}) for s in ("active", "expired")]
        reading = checks.alertmanager(status, some, quiet)
        assert reading.measured["alerts"] == {"active": 2}
        assert reading.measured["silences_active"] == 1

    def test_grafana_is_degraded_when_its_database_fails(self) -> None:
        assert checks.grafana(GrafanaHealth(database="ok")).level is Level.HEALTHY
        assert checks.grafana(GrafanaHealth(database="failing")).level is Level.DEGRADED

    def test_jaeger_without_a_trace_yet_is_healthy(self) -> None:
        assert checks.jaeger(JaegerServices(data=None)).measured == {"services": 0, "names": []}
        assert checks.jaeger(JaegerServices(data=("bridge",))).level is Level.HEALTHY

    def test_a_check_without_the_answer_that_it_is_drawn_from_is_unknown(self) -> None:
        reading = checks.no_answer("prometheus")
        assert reading.level is Level.UNKNOWN
        assert reading.measured == {"reason": "no answer from prometheus"}


class TestSystem:
    @pytest.mark.parametrize(
        ("used", "level"),
        [
            (0, Level.HEALTHY),
            (89, Level.HEALTHY),
            (90, Level.DEGRADED),
            (96, Level.DEGRADED),
            (97, Level.UNHEALTHY),
        ],
    )
    def test_memory(self, used: int, level: Level) -> None:
        assert checks.memory(used * GIB, 100 * GIB).level is level

    def test_memory_tells_its_numbers(self) -> None:
        reading = checks.memory(GIB, 4 * GIB)
        assert reading.measured == {"used_mb": 1024.0, "total_mb": 4096.0, "usage_percent": 25.0}

    @pytest.mark.parametrize(
        ("used", "level"),
        [(84, Level.HEALTHY), (85, Level.DEGRADED), (95, Level.UNHEALTHY), (100, Level.UNHEALTHY)],
    )
    def test_disk(self, used: int, level: Level) -> None:
        assert checks.disk(used * GIB, (100 - used) * GIB).level is level

    def test_a_file_system_without_space_is_full(self) -> None:
        assert checks.disk(0, 0).level is Level.UNHEALTHY

    @pytest.mark.parametrize(
        ("lag", "level"),
        [(0.0, Level.HEALTHY), (0.49, Level.HEALTHY), (0.5, Level.DEGRADED), (2.0, Level.UNHEALTHY)],
    )
    def test_event_loop(self, lag: float, level: Level) -> None:
        assert checks.event_loop(lag).level is level

    def test_a_processor_that_was_not_measured_is_unknown(self) -> None:
        assert checks.cpu(None, 0.0, 0.0).level is Level.UNKNOWN

    def test_a_busy_moment_is_unknown_until_it_has_lasted_five_minutes(self) -> None:
        assert checks.cpu(99.0, 299.0, 50.0).level is Level.UNKNOWN
        assert checks.cpu(99.0, 300.0, 50.0).level is Level.DEGRADED

    def test_an_idle_processor_is_healthy_at_once(self) -> None:
        reading = checks.cpu(12.34, 1.0, 5.0)
        assert reading.level is Level.HEALTHY
        assert reading.measured == {"usage_percent": 12.3, "over_seconds": 1.0, "process_percent": 5.0}

    @given(st.integers(0, 2**45), st.integers(1, 2**45))
    def test_more_memory_in_use_is_never_a_better_level(self, used: int, total: int) -> None:
        order = [Level.HEALTHY, Level.DEGRADED, Level.UNHEALTHY]
        less = checks.memory(min(used, total) // 2, total).level
        assert order.index(less) <= order.index(checks.memory(min(used, total), total).level)
