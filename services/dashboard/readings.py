"""What the other services answer, as far as it is read here. An answer of another shape is a failure."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.kit.health import Level

#: The states of a message that is not finished.
WAITING = ("queued", "sending", "retry_wait")


class Reading(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


def level(value: object) -> Level:
    """A level by its name; a name that we do not know tells us nothing."""
    return Level(value) if isinstance(value, str) and value in set(Level) else Level.UNKNOWN


ToldLevel = Annotated[Level, BeforeValidator(level)]


class HealthReport(Reading):
    """``GET /health`` of any of our services; mcp-health also names the services that it checks."""

    status: ToldLevel
    version: str | None = None
    uptime_seconds: float | None = None
    components: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    services: Mapping[str, Mapping[str, Any]] = Field(default_factory=dict)
    metrics: Mapping[str, Any] = Field(default_factory=dict)

    @property
    def uptime(self) -> float | None:
        found = self.metrics.get("uptime_seconds", self.uptime_seconds)
        return float(found) if isinstance(found, int | float) else None


class Circuit(Reading):
    state: str
    opened_at: str | None = None


class CheckRow(Reading):
    """One line of ``GET /health/checks`` of mcp-health."""

    id: str
    status: ToldLevel
    duration_ms: float | None = None
    last_check: str | None = None
    consecutive_failures: int = 0
    circuit: Circuit | None = None
    evidence: Mapping[str, Any] = Field(default_factory=dict)


class CheckList(Reading):
    checks: tuple[CheckRow, ...]


class Rates(Reading):
    accepted_per_second: float | None = None
    delivered_per_second: float | None = None


class Latency(Reading):
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Stats(Reading):
    """``GET /api/v1/stats`` of the bridge."""

    accepted_total: int
    delivered_total: int
    failed_total: int
    retries_total: int | None = None
    dead_letters_total: int | None = None
    unknown_total: int | None = None
    queue: Mapping[str, int] | None = None
    oldest_message_age_seconds: float | None = None
    rates: Rates = Rates()
    delivery_rate_percent: float | None = None
    latency_seconds: Latency | None = None
    active_correlations: int | None = None

    @property
    def depth(self) -> int | None:
        return None if self.queue is None else sum(self.queue.get(state, 0) for state in WAITING)


class Message(Reading):
    """What is told of a message wherever it is told of."""

    id: str
    event_id: str | None = None
    type: str | None = None
    title: str | None = None
    chat_id: int | str | None = None
    status: str
    accepted_at: str | None = None
    finished_at: str | None = None
    correlation_id: str | None = None
    trace_id: str | None = None
    telegram_message_ids: tuple[int, ...] = ()
    last_error: str | None = None


class MessageRow(Message):
    """One line of ``GET /api/v1/messages``."""

    attempts: int | None = None


class MessagePage(Reading):
    items: tuple[MessageRow, ...]
    next_cursor: str | None = None


class StateChange(Reading):
    at: str
    state: str
    cause: str | None = None


class Attempt(Reading):
    number: int
    started_at: str | None = None
    duration_ms: float | None = None
    outcome: str | None = None
    reason: str | None = None
    detail: str | None = None
    limiter_wait_ms: float | None = None
    telegram_message_id: int | None = None


class MessageLife(Message):
    """``GET /api/v1/messages/{id}``: its states and its attempts."""

    next_attempt_at: str | None = None
    deliver_at: str | None = None
    quiet_until: str | None = None
    events: tuple[StateChange, ...] = ()
    attempts: tuple[Attempt, ...] = ()


class Incident(Reading):
    """One line of ``GET /api/v1/incidents`` of alert-relay."""

    id: str
    state: str
    alertname: str | None = None
    severity: str | None = None
    group_labels: Mapping[str, str] = Field(default_factory=dict)
    opened_at: str | None = None
    updated_at: str | None = None
    resolved_at: str | None = None
    episodes: int | None = None
    firing: int | None = None


class IncidentPage(Reading):
    incidents: tuple[Incident, ...]
    next_cursor: str | None = None
