"""The routes `/health/checks` and `/health/compliance`; who may read `/metrics` may read them."""

from fastapi import APIRouter, Depends

from services.contracts.health import (
    CheckList,
    CheckRow,
    CheckType,
    Circuit,
    ComplianceReport,
    ControlRow,
    ControlStatus,
)
from services.kit.clock import rfc3339
from services.kit.health import Level
from services.kit.web.metrics_access import CLOSED, require_metrics_access
from services.mcp_health import compliance
from services.mcp_health.authority import CheckResult
from services.mcp_health.compliance import ControlResult
from services.mcp_health.state import InjectedState

router = APIRouter(tags=["health"], dependencies=[Depends(require_metrics_access)], responses=CLOSED)


@router.get("/health/checks", summary="The last result of every check")
async def checks(
    service: InjectedState,
    type: CheckType | None = None,  # noqa: A002 - the contract's word
    status: Level | None = None,
) -> CheckList:
    """Lists the checks, filtered by type and status; the report's status is that of all checks."""
    authority = service.authority
    rows = [
        _check_row(result)
        for result in authority.results()
        if (type is None or result.check.type is type) and (status is None or result.level is status)
    ]
    return CheckList(status=authority.level, timestamp=rfc3339(authority.clock.time()), checks=rows)


@router.get("/health/compliance", summary="Compliance controls by measurement; no certificate")
async def measured_compliance(service: InjectedState) -> ComplianceReport:
    """Returns each control with its evidence, and the score of each standard."""
    auditor = service.auditor
    assessment = auditor.assessment()
    counts = compliance.count(assessment.results)
    by_standard = {each: assessment.of(each) for each in compliance.Standard}
    return ComplianceReport(
        score=compliance.score(assessment.results),
        measured=counts[ControlStatus.PASSED] + counts[ControlStatus.FAILED],
        unknown=counts[ControlStatus.UNKNOWN],
        timestamp=rfc3339(auditor.clock.time()),
        notice=compliance.NOTICE,
        scores={each: compliance.score(results) for each, results in by_standard.items()},
        standards={each: [_control_row(one) for one in results] for each, results in by_standard.items()},
    )


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else rfc3339(seconds)


def _check_row(result: CheckResult) -> CheckRow:
    return CheckRow(
        id=result.check.id,
        name=result.check.name,
        type=result.check.type,
        critical=result.check.critical,
        status=result.level,
        duration_ms=None if result.duration is None else round(result.duration * 1000, 1),
        last_check=_time(result.last_check),
        consecutive_failures=result.consecutive_failures,
        circuit=Circuit(state=result.circuit, opened_at=_time(result.opened_at)) if result.circuit else None,
        evidence=dict(result.evidence),
    )


def _control_row(result: ControlResult) -> ControlRow:
    return ControlRow(
        control=result.control.control,
        supports=result.control.supports,
        status=result.status,
        evidence=dict(result.evidence),
        measured_at=_time(result.measured_at),
        recommendation=result.recommendation,
    )
