"""``make demo``: sends a set of events and one alert to the running suite and prints where to look."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from pydantic import Field

from services.__main__ import addresses, beside
from services.kit.runner import fail
from services.kit.settings import ServiceSettings, StartError, load
from services.kit.web.service import own_key

# A story of one morning: each line is an event as a team's tools would post it.
EVENTS: tuple[dict[str, Any], ...] = (
    {
        "type": "build_completed",
        "title": "Build 1842 finished",
        "source": "ci",
        "description": "Everything is green; the image is in the registry.",
        "data": {"duration_ms": 184_000, "tests_passed": 214, "tests_failed": 0, "coverage_percentage": 93.4},
    },
    {
        "type": "git_commit",
        "title": "Retry uploads that were cut off",
        "source": "git",
        "data": {
            "commit_hash": "9f2c1e7ab04d",
            "commit_message": "Retry uploads that were cut off\n\nThe server keeps the parts it has.",
            "author": "Grace",
            "branch_name": "main",
            "files_changed": 4,
        },
    },
    {
        "type": "task_progress",
        "title": "Migrating customers",
        "source": "migration",
        "silent": True,
        "data": {"current": 1_200, "total": 4_800, "duration_ms": 65_000},
    },
    {
        "type": "performance_alert",
        "title": "Checkout is slow",
        "source": "shop",
        "severity": "high",
        "priority": "high",
        "data": {
            "current_value": 2.4,
            "threshold": 1.5,
            "service_name": "checkout",
            "url": "https://example.com/",
        },
    },
    {
        "type": "error_occurred",
        "title": "Payment provider refused a webhook",
        "source": "shop",
        "severity": "critical",
        "data": {
            "error_message": 'signature mismatch <&> "quoted" — naïve café 🚀',
            "error_code": "E_SIGNATURE",
            "stack_trace": 'File "webhooks.py", line 31, in verify\n    raise BadSignature(header)',
        },
    },
    {
        "type": "task_completion",
        "title": "Nightly report is ready",
        "source": "reports",
        "chat_id": [1001, 1002],
        "data": {
            "results": "4,812 rows, 3 anomalies. See the attached list in the archive.",
            "duration_ms": 1_200,
        },
    },
)


class DemoSettings(ServiceSettings):
    bridge_url: str = Field("http://127.0.0.1:8080", description="where the bridge is")
    alert_relay_url: str = Field("http://127.0.0.1:8081", description="where alert-relay is")
    dashboard_url: str = Field("http://127.0.0.1:8082", description="where the dashboard is")
    sandbox_url: str = Field("http://127.0.0.1:8083", description="where the sandbox is")


def alert(now: datetime) -> dict[str, Any]:
    """One firing alert, as Alertmanager posts it."""
    return {
        "version": "4",
        "groupKey": '{}:{alertname="DiskSpaceLow"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "alert-relay",
        "groupLabels": {"alertname": "DiskSpaceLow"},
        "commonLabels": {"alertname": "DiskSpaceLow", "severity": "warning"},
        "commonAnnotations": {},
        "externalURL": "http://127.0.0.1:9093",
        "alerts": [
            {
                "status": "firing",
                "labels": {"alertname": "DiskSpaceLow", "severity": "warning", "instance": "db-1"},
                "annotations": {"summary": "db-1 has 12 % of its disk left"},
                "startsAt": (now - timedelta(minutes=5)).isoformat(),
                "endsAt": "0001-01-01T00:00:00Z",
                "generatorURL": "http://127.0.0.1:9090/graph",
                "fingerprint": f"{int(now.timestamp()):016x}",
            }
        ],
    }


def send(settings: DemoSettings, client: httpx.Client) -> list[str]:
    """Posts the events and the alert; answers with lines for the terminal."""
    lines = []
    for event in EVENTS:
        answer = client.post(f"{settings.bridge_url}/api/v1/events", json=event).raise_for_status().json()
        lines.append(f"  {event['type']:<18} {settings.bridge_url}{answer['links']['event']}")
    relayed = client.post(f"{settings.alert_relay_url}/webhook/alert", json=alert(datetime.now(UTC)))
    relayed.raise_for_status()
    lines.append(f"  {'alert':<18} {settings.alert_relay_url}/api/v1/incidents")
    return lines


def main() -> None:
    try:
        settings = beside(load(DemoSettings), addresses())
        with httpx.Client(headers={"Authorization": f"Bearer {own_key(settings)}"}, timeout=10) as client:
            lines = send(settings, client)
    except StartError as error:
        fail(error)
    except httpx.HTTPStatusError as error:
        refused = error.response
        fail(StartError(f"POST {refused.url} was answered {refused.status_code}: {refused.text}"))
    except httpx.HTTPError as error:
        where = f"{error.request.method} {error.request.url}"
        fail(StartError(f"{where}: {error}. Is the suite running (make run)?"))
    out = ["Accepted, and on disk:", *lines, "", "Now look at", f"  the chats       {settings.sandbox_url}/"]
    out.append(f"  the dashboard   {settings.dashboard_url}/dashboard/")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
