"""Calls that read numbers and health."""

from services.client import call
from services.client.call import Call, Service
from services.contracts.health import CheckList, HealthReport
from services.contracts.messages import Stats

#: A service that cannot do its job reports so with 503.
_REPORTS = frozenset({503})


def stats() -> Call[Stats]:
    """Reads the bridge's counters and queue."""
    return call.get(Stats, "/api/v1/stats")


def health(service: Service = Service.BRIDGE) -> Call[HealthReport]:
    """Reads a service's health; a service that does not work answers too."""
    return call.get(HealthReport, "/health", service=service, statuses=_REPORTS)


def checks() -> Call[CheckList]:
    """Reads every check of mcp-health with its measured values."""
    return call.get(CheckList, "/health/checks", service=Service.MCP_HEALTH)
