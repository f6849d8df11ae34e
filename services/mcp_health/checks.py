"""From an answer to a level, with the evidence that it was decided from. Pure: no calls, no clock."""

from collections import Counter
from collections.abc import Sequence

from services.kit.health import Level, Measurement, worst
from services.mcp_health.responses import (
    AlertmanagerAlert,
    AlertmanagerStatus,
    Alerts,
    GrafanaHealth,
    HealthAnswer,
    JaegerServices,
    Silence,
    Target,
    Targets,
)

#: A component that its service measured longer ago than this tells nothing about now, seconds.
STALE_SECONDS = 60.0
NAMED_AT_MOST = 20
#: How the names begin that a service gives us among its own components.
OURSELVES = ("mcp_health", "mcp-health")

MEMORY_DEGRADED, MEMORY_UNHEALTHY = 90.0, 97.0
DISK_DEGRADED, DISK_UNHEALTHY = 85.0, 95.0
LAG_DEGRADED, LAG_UNHEALTHY = 0.5, 2.0
CPU_DEGRADED = 80.0
CPU_WINDOW_SECONDS = 300.0


def level(name: str) -> Level:
    """A level by its name; a name that we do not know tells nothing."""
    return Level(name) if name in set(Level) else Level.UNKNOWN


def own_service(answer: HealthAnswer) -> Measurement:
    """What one of our services says of itself passes on, made worse where its readings are old.

    What it says of us is left out: two services that look at each other would hold each other down.
    """
    others = {name: part for name, part in answer.components.items() if not name.startswith(OURSELVES)}
    levels = {name: level(part.status) for name, part in others.items()}
    stale = sorted(
        name
        for name, part in others.items()
        if part.last_check and (answer.timestamp - part.last_check).total_seconds() > STALE_SECONDS
    )
    said = level(answer.status) if len(others) == len(answer.components) else worst(list(levels.values()))
    found = worst([said, Level.DEGRADED]) if stale else said
    evidence = {
        "version": answer.version,
        "components": {name: found.value for name, found in levels.items()},
        "stale": stale,
    }
    return Measurement(found, evidence)


def prometheus(targets: Targets, alerts: Alerts) -> Measurement:
    return Measurement(
        Level.HEALTHY, {"targets": len(targets.data.active), "alerts": len(alerts.data.alerts)}
    )


def scrape_targets(targets: Targets) -> Measurement:
    """Degraded while a target is down, or while nothing is scraped at all."""
    health = Counter(target.health for target in targets.data.active)
    down = [target for target in targets.data.active if target.health == "down"]
    evidence = {
        "up": health["up"],
        "down": health["down"],
        "unknown": health["unknown"],
        "down_targets": [_target(target) for target in down[:NAMED_AT_MOST]],
    }
    if down or not health:
        return Measurement(Level.DEGRADED, evidence)
    return Measurement(Level.HEALTHY if health["up"] else Level.UNKNOWN, evidence)


def _target(target: Target) -> dict[str, str]:
    return {"job": target.scrape_pool, "url": target.scrape_url, "error": target.last_error}


def firing_alerts(alerts: Alerts) -> Measurement:
    """Degraded while a critical alert fires."""
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
    status: AlertmanagerStatus, alerts: Sequence[AlertmanagerAlert], silences: Sequence[Silence]
) -> Measurement:
    """Degraded while its cluster settles; `disabled` is a single one, which is well."""
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
    """That it knows no service yet is no fault of Jaeger's."""
    known = sorted(answer.data or ())
    return Measurement(Level.HEALTHY, {"services": len(known), "names": known[:NAMED_AT_MOST]})


def memory(used: int, total: int) -> Measurement:
    """Bytes, of the container where it has a limit, else of the machine."""
    percent = 100 * used / total
    evidence = {"used_mb": round(used / 2**20, 1), "total_mb": round(total / 2**20, 1)}
    return Measurement(
        _between(percent, MEMORY_DEGRADED, MEMORY_UNHEALTHY), evidence | {"usage_percent": round(percent, 1)}
    )


def disk(used: int, free: int) -> Measurement:
    """Bytes; what only root may use counts as gone."""
    percent = 100 * used / (used + free) if used + free else 100.0
    evidence = {"usage_percent": round(percent, 1), "free_mb": round(free / 2**20, 1)}
    return Measurement(_between(percent, DISK_DEGRADED, DISK_UNHEALTHY), evidence)


def event_loop(lag: float) -> Measurement:
    """Seconds that the event loop woke late."""
    return Measurement(_between(lag, LAG_DEGRADED, LAG_UNHEALTHY), {"lag_seconds": round(lag, 4)})


def cpu(percent: float | None, seconds: float, process_percent: float) -> Measurement:
    """A busy moment is no fault: only the average of five minutes counts against the machine.

    Args:
        percent: of all cores, on average over these seconds; none when nothing was measured yet.
        seconds: that were measured.
        process_percent: of one core, by this process.
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
        return Measurement(Level.UNKNOWN, evidence | {"reason": "busy, but not measured for long enough"})
    return Measurement(Level.DEGRADED, evidence)


def _between(value: float, degraded: float, unhealthy: float) -> Level:
    if value >= unhealthy:
        return Level.UNHEALTHY
    return Level.DEGRADED if value >= degraded else Level.HEALTHY


def no_answer(source: str) -> Measurement:
    """What a check says that is drawn from another one's answer, while there is none."""
    return Measurement(Level.UNKNOWN, {"reason": f"no answer from {source}"})
