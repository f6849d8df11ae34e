"""One document from everything that was last heard: what the page shows.

Nothing in it is computed from nothing: a value that no service told is null, and each part
says when it was told and what went wrong since.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from services.dashboard.readings import (
    CheckList,
    CheckRow,
    HealthReport,
    Incident,
    IncidentPage,
    Latency,
    MessagePage,
    MessageRow,
    Stats,
    level,
)
from services.kit.clock import rfc3339
from services.kit.health import Level, worst

T = TypeVar("T")
#: After this many missed answers in a row, what was told before says nothing about now.
MISSED = 3


@dataclass(frozen=True, slots=True)
class Heard(Generic[T]):
    """The last answer to one question, and what came of asking since."""

    every: float  #: seconds between two questions
    value: T | None = None
    answered_at: float | None = None
    took: float | None = None  #: seconds
    asked_at: float | None = None
    failure: str | None = None  #: why the last question has no answer

    def fresh(self, now: float) -> bool:
        """Whether the value still says something about now."""
        return self.answered_at is not None and now - self.answered_at <= MISSED * self.every + 1.0


class Part(BaseModel):
    """A component of a service, as the service measured it."""

    name: str
    level: Level
    last_check: str | None
    measured: dict[str, Any]


class ServiceView(BaseModel):
    name: str
    level: Level
    answered_at: str | None
    asked_at: str | None
    failure: str | None
    response_time_ms: float | None
    version: str | None
    uptime_seconds: float | None
    parts: list[Part]


class FlowView(BaseModel):
    """The bridge's numbers; all null until it told them."""

    answered_at: str | None
    failure: str | None
    fresh: bool
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


class Incidents(BaseModel):
    """The newest incidents; null until alert-relay told them."""

    answered_at: str | None
    failure: str | None
    fresh: bool
    items: tuple[Incident, ...] | None
    more: bool  #: there are older ones, and some of them may be open


class Links(BaseModel):
    """Where a browser finds the other pages; null where none is configured."""

    grafana: str | None = None
    prometheus: str | None = None
    jaeger: str | None = None
    sandbox: str | None = None


class State(BaseModel):
    at: str
    level: Level
    version: str
    interval_ms: int
    history_minutes: int
    auth_enabled: bool
    services: list[ServiceView]
    flow: FlowView
    incidents: Incidents
    links: Links


class Recent(BaseModel):
    """The newest messages; null until the bridge told them."""

    failure: str | None
    items: tuple[MessageRow, ...] | None
    next_cursor: str | None


def service(name: str, heard: Heard[HealthReport], now: float) -> ServiceView:
    """One service from its health report; critical when it does not answer any more."""
    report = heard.value
    parts = {**report.components, **report.services} if report else {}
    return ServiceView(
        name=name,
        level=_level(heard, now),
        answered_at=_time(heard.answered_at),
        asked_at=_time(heard.asked_at),
        failure=heard.failure,
        response_time_ms=round(heard.took * 1000, 1) if heard.took is not None else None,
        version=report.version if report else None,
        uptime_seconds=report.uptime if report else None,
        parts=[_part(part, told, heard.fresh(now)) for part, told in parts.items()],
    )


def with_checks(view: ServiceView, heard: Heard[CheckList], now: float) -> ServiceView:
    """mcp-health with each of its checks in full, as far as it told them."""
    if heard.value is None:
        return view
    parts = [_checked(row, heard.fresh(now)) for row in heard.value.checks]
    return view.model_copy(update={"parts": parts})


def flow(heard: Heard[Stats], now: float) -> FlowView:
    stats = heard.value
    base = FlowView(answered_at=_time(heard.answered_at), failure=heard.failure, fresh=heard.fresh(now))
    if stats is None:
        return base
    return base.model_copy(
        update={
            "accepted_total": stats.accepted_total,
            "delivered_total": stats.delivered_total,
            "failed_total": stats.failed_total,
            "retries_total": stats.retries_total,
            "dead_letters_total": stats.dead_letters_total,
            "unknown_total": stats.unknown_total,
            "accepted_per_second": stats.rates.accepted_per_second,
            "delivered_per_second": stats.rates.delivered_per_second,
            "delivery_rate_percent": stats.delivery_rate_percent,
            "queue": None if stats.queue is None else dict(stats.queue),
            "queue_depth": stats.depth,
            "oldest_message_age_seconds": stats.oldest_message_age_seconds,
            "latency_seconds": stats.latency_seconds,
            "active_correlations": stats.active_correlations,
        }
    )


def recent(heard: Heard[MessagePage]) -> Recent:
    page = heard.value
    return Recent(
        failure=heard.failure,
        items=page.items if page else None,
        next_cursor=page.next_cursor if page else None,
    )


def incidents(heard: Heard[IncidentPage], now: float) -> Incidents:
    return Incidents(
        answered_at=_time(heard.answered_at),
        failure=heard.failure,
        fresh=heard.fresh(now),
        items=heard.value.incidents if heard.value else None,
        more=heard.value is not None and heard.value.next_cursor is not None,
    )


def overall(services: list[ServiceView]) -> Level:
    """The worst level; unknown while any service was never heard of and none is worse than healthy."""
    levels = [view.level for view in services]
    found = worst(levels)
    return Level.UNKNOWN if found is Level.HEALTHY and Level.UNKNOWN in levels else found


def _level(heard: Heard[HealthReport], now: float) -> Level:
    if heard.asked_at is None:
        return Level.UNKNOWN
    if heard.value is None or (heard.failure is not None and not heard.fresh(now)):
        return Level.CRITICAL
    return heard.value.status


def _part(name: str, told: Mapping[str, Any], fresh: bool) -> Part:
    checked = told.get("last_check")
    return Part(
        name=name,
        level=level(told.get("status")) if fresh else Level.UNKNOWN,
        last_check=checked if isinstance(checked, str) else None,
        measured={key: value for key, value in told.items() if key not in ("status", "last_check")},
    )


def _checked(row: CheckRow, fresh: bool) -> Part:
    measured: dict[str, Any] = {"duration_ms": row.duration_ms, **row.evidence}
    if row.consecutive_failures:
        measured["consecutive_failures"] = row.consecutive_failures
    if row.circuit is not None and row.circuit.state != "closed":
        measured["circuit"] = row.circuit.state
    return Part(
        name=row.id,
        level=row.status if fresh else Level.UNKNOWN,
        last_check=row.last_check,
        measured=measured,
    )


def _time(at: float | None) -> str | None:
    return rfc3339(at) if at is not None else None
