"""Metrics of health checks, circuit breakers and compliance."""

from collections.abc import Iterable, Mapping

from prometheus_client import CollectorRegistry, Gauge, Histogram

from services.kit.health import Level

_STATES = {"closed": 0, "half_open": 1, "open": 2}
_UP = {
    Level.HEALTHY: 1.0,
    Level.DEGRADED: 1.0,
    Level.UNHEALTHY: 0.0,
    Level.CRITICAL: 0.0,
    # A comparison with NaN is never true, so no alert fires on an unknown check.
    Level.UNKNOWN: float("nan"),
}


class Metrics:
    """Gauges and durations of checks, circuit breakers and compliance.

    Args:
        registry: of the service.
        checks: the ids of all checks.
        dependencies: the names of all circuit breakers.
    """

    def __init__(
        self, registry: CollectorRegistry, checks: Iterable[str], dependencies: Iterable[str]
    ) -> None:
        self._up = Gauge(
            "cctelegram_health_check_up",
            "Result of the last health check: 1 healthy or degraded, 0 unhealthy or critical, NaN unknown",
            ["check"],
            registry=registry,
        )
        self._duration = Histogram(
            "cctelegram_health_check_duration_seconds",
            "Duration of health checks",
            ["check"],
            registry=registry,
            buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
        )
        self._breaker = Gauge(
            "cctelegram_circuit_breaker_state",
            "State of the circuit breaker: 0 closed, 1 half-open, 2 open",
            ["dependency"],
            registry=registry,
        )
        self._score = Gauge(
            "compliance_score",
            "Percentage of all controls that passed; an unknown one did not; no sample before a measurement",
            ["standard"],
            registry=registry,
        )
        self._controls = Gauge(
            "cctelegram_compliance_controls",
            "Compliance controls, by standard and status",
            ["standard", "status"],
            registry=registry,
        )
        self._scored: set[str] = set()
        for check in checks:
            self._up.labels(check).set(_UP[Level.UNKNOWN])
            self._duration.labels(check)
        for dependency in dependencies:
            self._breaker.labels(dependency)

    def checked(self, check: str, level: Level, seconds: float | None) -> None:
        """Records a check.

        Args:
            check: its id.
            level: its result.
            seconds: its duration; None when it was not run.
        """
        self._up.labels(check).set(_UP[level])
        if seconds is not None:
            self._duration.labels(check).observe(seconds)

    def circuit(self, dependency: str, state: str) -> None:
        """Records the state of a circuit breaker: closed, half_open or open."""
        self._breaker.labels(dependency).set(_STATES[state])

    def standard(self, standard: str, score: float | None, controls: Mapping[str, int]) -> None:
        """Records the score of a standard in percent, and the number of its controls in each status."""
        for status, count in controls.items():
            self._controls.labels(standard, status).set(count)
        if score is not None:
            self._score.labels(standard).set(score)
            self._scored.add(standard)
        elif standard in self._scored:
            self._score.remove(standard)
            self._scored.discard(standard)
