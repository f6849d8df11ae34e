"""/health/checks and /health/compliance: public, like every /health route; no secret stands in them."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from services.kit.clock import rfc3339
from services.kit.health import Level
from services.mcp_health import authority, compliance
from services.mcp_health.audit import Auditor
from services.mcp_health.authority import Authority, CheckType
from services.mcp_health.breaker import State
from services.mcp_health.compliance import Status

router = APIRouter(tags=["health"])


class Circuit(BaseModel):
    state: State
    opened_at: str | None = Field(description="RFC 3339; while it is not closed")


class CheckRow(BaseModel):
    id: str
    name: str
    type: CheckType
    critical: bool = Field(description="whether the suite cannot do its main job while this fails")
    status: Level
    duration_ms: float | None
    last_check: str | None = Field(description="RFC 3339; when it was last really made")
    consecutive_failures: int
    circuit: Circuit | None = Field(description="none where nothing is called")
    evidence: Mapping[str, Any] = Field(description="what the status was decided from")


class Checks(BaseModel):
    status: Level = Field(description="the worst of all checks, whichever are listed")
    timestamp: str
    checks: list[CheckRow]


class ControlRow(BaseModel):
    control: str
    supports: str
    status: Status
    evidence: Mapping[str, Any]
    measured_at: str | None = Field(description="RFC 3339, of the oldest of its measurements")
    recommendation: str | None = Field(description="what to do; none where it passed")


class Compliance(BaseModel):
    score: float | None = Field(description="percent passed of the measured controls; none if none is")
    measured: int
    unknown: int = Field(description="controls that count neither way")
    timestamp: str
    notice: str
    scores: Mapping[str, float | None]
    standards: Mapping[str, list[ControlRow]]


@router.get("/health/checks", summary="One row a check: what was asked, when, and what was found")
async def checks(request: Request, type: CheckType | None = None, status: Level | None = None) -> Checks:  # noqa: A002 - the contract's words
    known: Authority = request.state.authority
    rows = [
        _check(row)
        for row in known.rows()
        if (type is None or row.check.type is type) and (status is None or row.level is status)
    ]
    return Checks(status=known.level, timestamp=rfc3339(known.clock.time()), checks=rows)


@router.get("/health/compliance", summary="Which controls are kept, by measurement; no certificate")
async def measured_compliance(request: Request) -> Compliance:
    auditor: Auditor = request.state.auditor
    report = auditor.report()
    counts = compliance.count(report.rows)
    return Compliance(
        score=compliance.score(report.rows),
        measured=counts[Status.PASSED] + counts[Status.FAILED],
        unknown=counts[Status.UNKNOWN],
        timestamp=rfc3339(auditor.clock.time()),
        notice=compliance.NOTICE,
        scores={each: compliance.score(report.of(each)) for each in compliance.Standard},
        standards={each: [_control(row) for row in report.of(each)] for each in compliance.Standard},
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _check(row: authority.Row) -> CheckRow:
    return CheckRow(
        id=row.check.id,
        name=row.check.name,
        type=row.check.type,
        critical=row.check.critical,
        status=row.level,
        duration_ms=None if row.duration is None else round(row.duration * 1000, 1),
        last_check=_time(row.last_check),
        consecutive_failures=row.consecutive_failures,
        circuit=Circuit(state=row.circuit, opened_at=_time(row.opened_at)) if row.circuit else None,
        evidence=row.evidence,
    )


def _control(row: compliance.Row) -> ControlRow:
    return ControlRow(
        control=row.control.control,
        supports=row.control.supports,
        status=row.status,
        evidence=row.evidence,
        measured_at=_time(row.measured_at),
        recommendation=row.recommendation,
    )
