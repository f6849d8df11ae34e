"""Turns a dependency's answer into a health level with its evidence. Pure: no calls, no clock."""

from collections import Counter
from collections.abc import Sequence

from services.contracts.health import HealthReport
from services.kit.clock import from_rfc3339
from services.kit.health import Level, Measurement, worst
from services.mcp_health.responses import (
    AlertmanagerAlert,
    AlertmanagerSilence,
    AlertmanagerStatus,
    GrafanaHealth,
    JaegerServices,
    PrometheusAlerts,
    PrometheusTarget,
    PrometheusTargets,
)

#: A component's measurement is stale after this many seconds.
STALE_SECONDS = 60.0
#: The most names that evidence lists.
NAMED_AT_MOST = 20
#: Prefixes of the components in which other services report on mcp-health.
OWN_PREFIXES = ("mcp_health", "mcp-health")

MEMORY_DEGRADED, MEMORY_UNHEALTHY = 90.0, 97.0
DISK_DEGRADED, DISK_UNHEALTHY = 85.0, 95.0
LAG_DEGRADED, LAG_UNHEALTHY = 0.5, 2.0
CPU_DEGRADED = 80.0
CPU_WINDOW_SECONDS = 300.0


def own_service(report: HealthReport) -> Measurement:
    """Returns the level that a service of the suite reports, at least degraded if measurements are stale.

    What it reports on mcp-health is left out: two services that check each other would never recover.
    """
    others = {name: part for name, part in report.components.items() if not name.startswith(OWN_PREFIXES)}
    levels = {name: part.status for name, part in others.items()}
    now = from_rfc3339(report.timestamp)
    stale = sorted(
        name
        for name, part in others.items()
        if part.last_check and now - from_rfc3339(part.last_check) > STALE_SECONDS
    )
    without_us = len(others) < len(report.components)
    reported = worst(list(levels.values())) if without_us else report.status
    evidence = {
        "version": report.version,
        "components": {name: level.value for name, level in levels.items()},
        "stale": stale,
    }
    return Measurement(worst([reported, Level.DEGRADED]) if stale else reported, evidence)


def prometheus(targets: PrometheusTargets, alerts: PrometheusAlerts) -> Measurement:
    return Measurement(
        Level.HEALTHY, {"targets": len(targets.data.active), "alerts": len(alerts.data.alerts)}
    )


def scrape_targets(targets: PrometheusTargets) -> Measurement:
    """Degraded while a scrape target is down, or while there is none."""
    health = Counter(target.health for target in targets.data.active)
    down = [target for target in targets.data.active if target.health == "down"]
    evidence = {
        "up": health["up"],
        "down": health["down"],
        "unknown": health["unknown"],
        "jobs": sorted({target.scrape_pool for target in targets.data.active if target.health == "up"}),
        "down_targets": [_target(target) for target in down[:NAMED_AT_MOST]],
    }
    if down or not health:
        return Measurement(Level.DEGRADED, evidence)
    return Measurement(Level.HEALTHY if health["up"] else Level.UNKNOWN, evidence)


def _target(target: PrometheusTarget) -> dict[str, str]:
    return {"job": target.scrape_pool, "url": target.scrape_url, "error": target.last_error}


def firing_alerts(alerts: PrometheusAlerts) -> Measurement:
    """Degraded while an alert of severity ``critical`` fires."""
    firing = [alert for alert in alerts.data.alerts if alert.state == "firing"]
    severities = Counter(alert.labels.get("severity", "none") for alert in firing)
    names = sorted({alert.labels.get("alertname", "") for alert in firing})
    evidence = {
        "firing": len(firing),
        "pending": sum(alert.state == "pending" for alert in alerts.data.alerts),
        "by_severity": dict(severities),
        "names": names[:NAMED_AT_MOST],
    }
    return Measurement(Level.DEGRADED if severities["critical"] else Level.HEALTHY, evidence)


def alertmanager(
    status: AlertmanagerStatus, alerts: Sequence[AlertmanagerAlert], silences: Sequence[AlertmanagerSilence]
) -> Measurement:
    """Degraded while its cluster settles; a single Alertmanager reports ``disabled``, which is healthy."""
    evidence = {
        "version": status.version_info.version,
        "cluster": status.cluster.status,
        "alerts": dict(Counter(alert.status.state for alert in alerts)),
        "silences_active": sum(silence.status.state == "active" for silence in silences),
    }
    settled = status.cluster.status in ("ready", "disabled")
    return Measurement(Level.HEALTHY if settled else Level.DEGRADED, evidence)


def grafana(answer: GrafanaHealth) -> Measurement:
    evidence = {"version": answer.version, "database": answer.database}
    return Measurement(Level.HEALTHY if answer.database == "ok" else Level.DEGRADED, evidence)


def jaeger(answer: JaegerServices) -> Measurement:
    """Healthy when Jaeger answers, also while it has no traces."""
    known = sorted(answer.data or ())
    return Measurement(Level.HEALTHY, {"services": len(known), "names": known[:NAMED_AT_MOST]})


def memory(used: int, total: int) -> Measurement:
    """Level of the memory in use; bytes, of the container if it has a limit, else of the machine."""
    percent = 100 * used / total
    evidence = {"used_mb": round(used / 2**20, 1), "total_mb": round(total / 2**20, 1)}
    return Measurement(
        _between(percent, MEMORY_DEGRADED, MEMORY_UNHEALTHY), evidence | {"usage_percent": round(percent, 1)}
    )


def disk(used: int, free: int) -> Measurement:
    """Level of the disk space in use; bytes. Space that is reserved for root counts as used."""
    percent = 100 * used / (used + free) if used + free else 100.0
    evidence = {"usage_percent": round(percent, 1), "free_mb": round(free / 2**20, 1)}
    return Measurement(_between(percent, DISK_DEGRADED, DISK_UNHEALTHY), evidence)


def event_loop(lag: float) -> Measurement:
    """Level of the event loop's lag, seconds."""
    return Measurement(_between(lag, LAG_DEGRADED, LAG_UNHEALTHY), {"lag_seconds": round(lag, 4)})


def cpu(percent: float | None, seconds: float, process_percent: float) -> Measurement:
    """Level of the CPU usage: degraded only if the average over five minutes is high.

    Args:
        percent: average usage of all cores over the measured time; None before the first measurement.
        seconds: length of the measured time.
        process_percent: usage of one core by this process.
    """
    if percent is None:
        return Measurement(Level.UNKNOWN, {"reason": "nothing measured yet"})
    evidence = {
        "usage_percent": round(percent, 1),
        "over_seconds": round(seconds, 1),
        "process_percent": round(process_percent, 1),
    }
    if percent < CPU_DEGRADED:
        return Measurement(Level.HEALTHY, evidence)
    if seconds < CPU_WINDOW_SECONDS:
        return Measurement(
            Level.UNKNOWN, evidence | {"reason": "high usage, but not measured for five minutes yet"}
        )
    return Measurement(Level.DEGRADED, evidence)


def _between(value: float, degraded: float, unhealthy: float) -> Level:
    if value >= unhealthy:
        return Level.UNHEALTHY
    return Level.DEGRADED if value >= degraded else Level.HEALTHY


def no_answer(source: str) -> Measurement:
    """The reading of a check that uses another check's answer, while there is none."""
    return Measurement(Level.UNKNOWN, {"reason": f"no answer from {source}"})
