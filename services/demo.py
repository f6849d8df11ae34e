"""``make demo``: posts sample events and one alert to the running suite, and prints where to see them."""

import sys
from datetime import UTC, datetime, timedelta

import httpx
from pydantic import Field

from services.__main__ import addresses, with_addresses
from services.contracts.alertmanager import Alert, Status, Webhook
from services.contracts.details import EventData
from services.contracts.events import Accepted, NewEvent
from services.contracts.fields import Priority, Severity
from services.kit.runner import fail
from services.kit.settings import ServiceSettings, StartError, load
from services.kit.web.service import own_key

#: Events of one morning, as a team's tools would post them.
EVENTS = (
    NewEvent(
        type="build_completed",
        title="Build 1842 finished",
        source="ci",
        description="Everything is green; the image is in the registry.",
        data=EventData(duration_ms=184_000, tests_passed=214, tests_failed=0, coverage_percentage=93.4),
    ),
    NewEvent(
        type="git_commit",
        title="Retry uploads that were cut off",
        source="git",
        data=EventData(
            commit_hash="9f2c1e7ab04d",
            commit_message="Retry uploads that were cut off\n\nThe server keeps the parts it has.",
            author="Grace",
            branch_name="main",
            files_changed=4,
        ),
    ),
    NewEvent(
        type="task_progress",
        title="Migrating customers",
        source="migration",
        silent=True,
        data=EventData(current=1_200, total=4_800, duration_ms=65_000),
    ),
    NewEvent(
        type="performance_alert",
        title="Checkout is slow",
        source="shop",
        severity=Severity.HIGH,
        priority=Priority.HIGH,
        data=EventData(current_value=2.4, threshold=1.5, service_name="checkout", url="https://example.com/"),
    ),
    NewEvent(
        type="error_occurred",
        title="Payment provider refused a webhook",
        source="shop",
        severity=Severity.CRITICAL,
        data=EventData(
            error_message='signature mismatch <&> "quoted" — naïve café 🚀',
            error_code="E_SIGNATURE",
            stack_trace='File "webhooks.py", line 31, in verify\n    raise BadSignature(header)',
        ),
    ),
    NewEvent(
        type="task_completion",
        title="Nightly report is ready",
        source="reports",
        chat_id=[1001, 1002],
        data=EventData(
            results="4,812 rows, 3 anomalies. See the attached list in the archive.", duration_ms=1_200
        ),
    ),
)


class DemoSettings(ServiceSettings):
    bridge_url: str = Field("http://127.0.0.1:8080", description="URL of the bridge")
    alert_relay_url: str = Field("http://127.0.0.1:8081", description="URL of alert-relay")
    dashboard_url: str = Field("http://127.0.0.1:8082", description="URL of the dashboard")
    sandbox_url: str = Field("http://127.0.0.1:8083", description="URL of the Telegram sandbox")


def alert(now: datetime) -> Webhook:
    """Returns one firing alert, as Alertmanager posts it."""
    return Webhook(
        version="4",
        groupKey='{}:{alertname="DiskSpaceLow"}',
        status=Status.FIRING,
        receiver="alert-relay",
        groupLabels={"alertname": "DiskSpaceLow"},
        commonLabels={"alertname": "DiskSpaceLow", "severity": "warning"},
        commonAnnotations={},
        externalURL="http://127.0.0.1:9093",
        alerts=[
            Alert(
                status=Status.FIRING,
                labels={"alertname": "DiskSpaceLow", "severity": "warning", "instance": "db-1"},
                annotations={"summary": "db-1 has 12 % of its disk left"},
                startsAt=now - timedelta(minutes=5),
                endsAt=datetime.min.replace(tzinfo=UTC),
                generatorURL="http://127.0.0.1:9090/graph",
                fingerprint=f"{int(now.timestamp()):016x}",
            )
        ],
    )


def send(settings: DemoSettings, client: httpx.Client) -> list[str]:
    """Posts the events and the alert, and returns lines for the terminal.

    Raises:
        httpx.HTTPError: a service is unreachable or refuses.
    """
    lines = []
    for event in EVENTS:
        body = event.model_dump(mode="json", exclude_unset=True)
        answer = client.post(f"{settings.bridge_url}/api/v1/events", json=body).raise_for_status()
        accepted = Accepted.model_validate_json(answer.content)
        lines.append(f"  {event.type:<18} {settings.bridge_url}{accepted.links.event}")
    webhook = alert(datetime.now(UTC)).model_dump(mode="json", exclude_unset=True)
    client.post(f"{settings.alert_relay_url}/webhook/alert", json=webhook).raise_for_status()
    lines.append(f"  {'alert':<18} {settings.alert_relay_url}/api/v1/incidents")
    return lines


def main() -> None:
    try:
        settings = with_addresses(load(DemoSettings), addresses())
        with httpx.Client(headers={"Authorization": f"Bearer {own_key(settings)}"}, timeout=10) as client:
            lines = send(settings, client)
    except StartError as error:
        fail(error)
    except httpx.HTTPStatusError as error:
        refused = error.response
        fail(StartError(f"POST {refused.url} was answered {refused.status_code}: {refused.text}"))
    except httpx.HTTPError as error:
        request = f"{error.request.method} {error.request.url}"
        fail(StartError(f"{request}: {error}. Is the suite running (make run)?"))
    out = ["Accepted, and on disk:", *lines, "", "Now look at", f"  the chats       {settings.sandbox_url}/"]
    out.append(f"  the dashboard   {settings.dashboard_url}/dashboard/")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
