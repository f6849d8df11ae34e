"""Builds the document that the page shows from the last answers of the services. Pure.

Every number comes from a service: a value that no service reported is null. Each part has the time of its
answer, and the failure since then if there was one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from services.contracts.health import (
    BridgeHealth,
    CheckList,
    CheckRow,
    CircuitState,
    ComponentHealth,
    HealthReport,
    SuiteHealth,
)
from services.contracts.incidents import Incident, IncidentPage
from services.contracts.messages import Latency, Message, Page, Stats
from services.kit.clock import rfc3339
from services.kit.health import Level, worst

T = TypeVar("T")
#: An answer is too old after this many missed polls.
MISSED_POLLS = 3
#: The states of messages that count as queue depth.
WAITING = ("queued", "sending", "retry_wait")


@dataclass(frozen=True, slots=True)
class Polled(Generic[T]):
    """The last answer of one resource, and the result of the last poll; times are seconds since the epoch."""

    every: float  #: seconds between two polls
    value: T | None = None
    answered_at: float | None = None
    duration: float | None = None  #: seconds
    polled_at: float | None = None
    failure: str | None = None  #: why the last poll failed

    def fresh(self, now: float) -> bool:
        """Whether the value is recent enough to describe the present."""
        return self.answered_at is not None and now - self.answered_at <= MISSED_POLLS * self.every + 1.0


class ComponentView(BaseModel):
    """A component of a service, as the service measured it."""

    name: str
    level: Level
    last_check: str | None
    measured: dict[str, Any]


class ServiceView(BaseModel):
    """One service: its level, and when it was polled."""

    name: str
    level: Level
    answered_at: str | None
    asked_at: str | None
    failure: str | None
    response_time_ms: float | None
    version: str | None
    uptime_seconds: float | None
    parts: list[ComponentView]


class FlowView(BaseModel):
    """The bridge's numbers; all null until its first answer."""

    answered_at: str | None
    failure: str | None
    fresh: bool
    counted_since: str | None = None
    accepted_total: int | None = None
    delivered_total: int | None = None
    failed_total: int | None = None
    retries_total: int | None = None
    dead_letters_total: int | None = None
    unknown_total: int | None = None
    accepted_per_second: float | None = None
    delivered_per_second: float | None = None
    delivery_rate_percent: float | None = None
    queue: dict[str, int] | None = None
    queue_depth: int | None = None
    oldest_message_age_seconds: float | None = None
    latency_seconds: Latency | None = None
    active_correlations: int | None = None


class IncidentsView(BaseModel):
    """The newest incidents; null until the first answer of alert-relay."""

    answered_at: str | None
    failure: str | None
    fresh: bool
    items: list[Incident] | None
    more: bool  #: whether there are older incidents; some of them may be open


class Links(BaseModel):
    """Links to other pages for browsers; null if not configured."""

    grafana: str | None = None
    prometheus: str | None = None
    jaeger: str | None = None
    sandbox: str | None = None


class Overview(BaseModel):
    """The document that the page shows."""

    at: str
    level: Level
    version: str
    interval_ms: int
    history_minutes: int
    auth_enabled: bool
    services: list[ServiceView]
    flow: FlowView
    incidents: IncidentsView
    links: Links


class RecentMessages(BaseModel):
    """The newest messages; null until the first answer of the bridge."""

    failure: str | None
    items: list[Message] | None
    next_cursor: str | None


def service(name: str, polled: Polled[HealthReport], now: float) -> ServiceView:
    """Returns the view of a service; it is critical if it does not answer any more."""
    report = polled.value
    fresh = polled.fresh(now)
    return ServiceView(
        name=name,
        level=_level(polled, now),
        answered_at=_time(polled.answered_at),
        asked_at=_time(polled.polled_at),
        failure=polled.failure,
        response_time_ms=round(polled.duration * 1000, 1) if polled.duration is not None else None,
        version=report.version or None if report else None,
        uptime_seconds=_uptime(report),
        parts=[_component(each, component, fresh) for each, component in _components(report).items()],
    )


def _components(report: HealthReport | None) -> Mapping[str, ComponentHealth]:
    """Returns the components by name; those of mcp-health include the services that it checks."""
    if report is None:
        return {}
    return {**report.components, **(report.services if isinstance(report, SuiteHealth) else {})}


def _uptime(report: HealthReport | None) -> float | None:
    match report:
        case BridgeHealth():
            return report.metrics.uptime_seconds
        case SuiteHealth():
            return report.uptime_seconds
    return None


def with_checks(view: ServiceView, polled: Polled[CheckList], now: float) -> ServiceView:
    """Returns the view of mcp-health with its checks in full, if it has answered with them."""
    if polled.value is None:
        return view
    parts = [_check(row, polled.fresh(now)) for row in polled.value.checks]
    return view.model_copy(update={"parts": parts})


def flow(polled: Polled[Stats], now: float) -> FlowView:
    """Returns the bridge's numbers."""
    stats = polled.value
    base = FlowView(answered_at=_time(polled.answered_at), failure=polled.failure, fresh=polled.fresh(now))
    if stats is None:
        return base
    return base.model_copy(
        update={
            "counted_since": stats.counted_since,
            "accepted_total": stats.accepted_total,
            "delivered_total": stats.delivered_total,
            "failed_total": stats.failed_total,
            "retries_total": stats.retries_total,
            "dead_letters_total": stats.dead_letters_total,
            "unknown_total": stats.unknown_total,
            "accepted_per_second": stats.rates.accepted_per_second if stats.rates else None,
            "delivered_per_second": stats.rates.delivered_per_second if stats.rates else None,
            "delivery_rate_percent": stats.delivery_rate_percent,
            "queue": stats.queue,
            "queue_depth": queue_depth(stats),
            "oldest_message_age_seconds": stats.oldest_message_age_seconds,
            "latency_seconds": stats.latency_seconds,
            "active_correlations": stats.active_correlations,
        }
    )


def queue_depth(stats: Stats) -> int | None:
    """Returns the number of waiting messages; None if it was not measured."""
    return None if stats.queue is None else sum(stats.queue.get(state, 0) for state in WAITING)


def recent(polled: Polled[Page]) -> RecentMessages:
    """Returns the newest messages."""
    page = polled.value
    return RecentMessages(
        failure=polled.failure,
        items=page.items if page else None,
        next_cursor=page.next_cursor if page else None,
    )


def incidents(polled: Polled[IncidentPage], now: float) -> IncidentsView:
    """Returns the newest incidents."""
    page = polled.value
    return IncidentsView(
        answered_at=_time(polled.answered_at),
        failure=polled.failure,
        fresh=polled.fresh(now),
        items=page.incidents if page else None,
        more=page is not None and page.next_cursor is not None,
    )


def overall(services: list[ServiceView]) -> Level:
    """Returns the worst level; it is unknown rather than healthy while a service is unknown."""
    levels = [view.level for view in services]
    found = worst(levels)
    return Level.UNKNOWN if found is Level.HEALTHY and Level.UNKNOWN in levels else found


def _level(polled: Polled[HealthReport], now: float) -> Level:
    if polled.polled_at is None:
        return Level.UNKNOWN
    if polled.value is None or (polled.failure is not None and not polled.fresh(now)):
        return Level.CRITICAL
    return polled.value.status


def _component(name: str, component: ComponentHealth, fresh: bool) -> ComponentView:
    return ComponentView(
        name=name,
        level=component.status if fresh else Level.UNKNOWN,
        last_check=component.last_check,
        measured=dict(component.measured),
    )


def _check(row: CheckRow, fresh: bool) -> ComponentView:
    measured: dict[str, Any] = {"duration_ms": row.duration_ms, **row.evidence}
    if row.consecutive_failures:
        measured["consecutive_failures"] = row.consecutive_failures
    if row.circuit is not None and row.circuit.state is not CircuitState.CLOSED:
        measured["circuit"] = row.circuit.state
    return ComponentView(
        name=row.id,
        level=row.status if fresh else Level.UNKNOWN,
        last_check=row.last_check,
        measured=measured,
    )


def _time(at: float | None) -> str | None:
    return rfc3339(at) if at is not None else None
