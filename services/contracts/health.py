"""Health reports of every service, and the checks and compliance reports of mcp-health."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from services.contracts.fields import A_TIME, about
from services.kit.clock import from_rfc3339
from services.kit.health import Level


def _known_level(value: object) -> object:
    return Level.UNKNOWN if isinstance(value, str) and value not in set(Level) else value


#: A health level; a level that this version does not know counts as unknown.
ReportedLevel = Annotated[Level, BeforeValidator(_known_level)]


def _with_zone(text: str) -> str:
    from_rfc3339(text)
    return text


#: A time as text, RFC 3339 with a zone; ``from_rfc3339`` returns its seconds.
Timestamp = Annotated[str, AfterValidator(_with_zone)]


class ComponentHealth(BaseModel):
    """One component of a service; further fields are what was measured."""

    model_config = ConfigDict(extra="allow", frozen=True)

    status: Annotated[ReportedLevel, about("health level; unknown before the first measurement", "healthy")]
    last_check: Annotated[Timestamp | None, about("time of the last measurement", A_TIME)] = None

    @property
    def measured(self) -> Mapping[str, Any]:
        """What was measured, by name: the fields beside ``status`` and ``last_check``."""
        return self.model_extra or {}


class HealthReport(BaseModel):
    """Answer of ``GET /health`` of every service."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[ReportedLevel, about("worst level of the components", "healthy")]
    timestamp: Annotated[Timestamp, about("time of this answer", A_TIME)]
    version: Annotated[str, about("version of the suite", "1.0.0")] = ""
    components: Annotated[dict[str, ComponentHealth], about("by name")] = {}


class ProcessNumbers(BaseModel):
    """Numbers of the bridge's process that answers; messages are counted for all replicas."""

    model_config = ConfigDict(frozen=True)

    uptime_seconds: Annotated[float, about("time since the start", 86_400.0)]
    memory_usage_mb: Annotated[float, about("resident memory", 128.0)]
    cpu_usage_percent: Annotated[float, about("share of one core", 12.5)]
    active_connections: Annotated[int, about("open HTTP connections", 3)]
    messages_processed_total: Annotated[
        int | None,
        about(
            "messages that all replicas delivered or gave up, since counting began; null until counted", 1_542
        ),
    ]


class BridgeDetails(BaseModel):
    """The part of the bridge's report that only the bridge has."""

    model_config = ConfigDict(frozen=True)

    metrics: Annotated[ProcessNumbers, about("numbers of the process")]


class BridgeHealth(BridgeDetails, HealthReport):
    """Answer of ``GET /health`` of the bridge."""


class Memory(BaseModel):
    """Memory of the container, or of the machine if the container has no limit."""

    model_config = ConfigDict(frozen=True)

    used_mb: Annotated[float, about("memory in use", 512.0)]
    total_mb: Annotated[float, about("limit, or size of the machine's memory", 2_048.0)]
    usage_percent: Annotated[float, about("share in use", 25.0)]


class SuiteDetails(BaseModel):
    """The part of mcp-health's report that only mcp-health has."""

    model_config = ConfigDict(frozen=True)

    python_version: Annotated[str, about("version of the interpreter", "3.11.7")]
    memory: Annotated[Memory, about("memory of the host")]
    uptime_seconds: Annotated[float, about("time since the start", 86_400.0)]
    environment: Annotated[str, about("name of this installation", "production")]
    components: Annotated[dict[str, ComponentHealth], about("checks of the host and of Prometheus' data")]
    services: Annotated[dict[str, ComponentHealth], about("checked services and programs, by name")]


class SuiteHealth(SuiteDetails, HealthReport):
    """Answer of ``GET /health`` of mcp-health."""


class CheckType(StrEnum):
    """What a check measures."""

    SYSTEM = "system"  #: the machine or container of mcp-health
    DEPENDENCY = "dependency"  #: another program, called over the network
    CUSTOM = "custom"  #: a value derived from the answers of dependencies


class CircuitState(StrEnum):
    """State of a circuit breaker."""

    CLOSED = "closed"  #: calls are made
    OPEN = "open"  #: no calls are made
    HALF_OPEN = "half_open"  #: trial calls are made; the first failure opens the circuit again


class Circuit(BaseModel):
    """The circuit breaker of a dependency."""

    model_config = ConfigDict(frozen=True)

    state: Annotated[CircuitState, about("whether the dependency is called", "closed")]
    opened_at: Annotated[str | None, about("time of the last opening; null while closed", A_TIME)]


class CheckRow(BaseModel):
    """One check and its last result."""

    model_config = ConfigDict(frozen=True)

    id: Annotated[str, about("name of the check in metrics and reports", "bridge")]
    name: Annotated[str, about("name for people", "Bridge")]
    type: Annotated[CheckType, about("what the check measures", "dependency")]
    critical: Annotated[bool, about("whether the suite cannot do its main job while the check fails", True)]
    status: Annotated[ReportedLevel, about("health level", "healthy")]
    duration_ms: Annotated[float | None, about("duration of the last check; null before the first", 4.2)]
    last_check: Annotated[str | None, about("time of the last check; null before the first", A_TIME)]
    consecutive_failures: Annotated[int, about("failures since the last success", 0)]
    circuit: Annotated[Circuit | None, about("circuit breaker; null if the check makes no call")]
    evidence: Annotated[dict[str, Any], about("measured values that decided the status", {"version": "1"})]


class CheckList(BaseModel):
    """Answer of ``GET /health/checks`` of mcp-health."""

    model_config = ConfigDict(frozen=True)

    status: Annotated[ReportedLevel, about("worst level of all checks, also of those not listed", "healthy")]
    timestamp: Annotated[str, about("time of this answer", A_TIME)]
    checks: Annotated[list[CheckRow], about("the checks that match the query")]


class ControlStatus(StrEnum):
    """Result of a compliance control."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"  #: not measured


class ControlRow(BaseModel):
    """One compliance control and its measured status."""

    model_config = ConfigDict(frozen=True)

    control: Annotated[str, about("number of the control in its standard", "CC6.1")]
    supports: Annotated[str, about("the statement that the control supports")]
    status: Annotated[ControlStatus, about("result", "passed")]
    evidence: Annotated[dict[str, Any], about("measured values that decided the status", {"mode": "0600"})]
    measured_at: Annotated[str | None, about("time of the oldest measurement", A_TIME)]
    recommendation: Annotated[str | None, about("what to do; null if the control passed")]


class ComplianceReport(BaseModel):
    """Answer of ``GET /health/compliance`` of mcp-health."""

    model_config = ConfigDict(frozen=True)

    score: Annotated[
        float | None,
        about("percent passed of all controls; unknown ones did not; null if none is measured", 85.7),
    ]
    measured: Annotated[int, about("number of controls that passed or failed", 30)]
    unknown: Annotated[int, about("number of controls that were not measured", 4)]
    timestamp: Annotated[str, about("time of this answer", A_TIME)]
    notice: Annotated[str, about("what the report is not")]
    scores: Annotated[dict[str, float | None], about("the same as `score` of each standard", {"SOC2": 80.0})]
    standards: Annotated[dict[str, list[ControlRow]], about("controls of each standard")]
