"""``make demo``: posts events, an alert, its acknowledgement and its end, and prints where to see them."""

import argparse
import sys
from datetime import UTC, datetime, timedelta

from pydantic import Field

from services.__main__ import addresses, with_addresses
from services.bridge.settings import BridgeSettings
from services.client import Client, ClientError
from services.client.call import Service
from services.client.errors import NotReachedError
from services.contracts.alertmanager import Alert, Status, Webhook
from services.contracts.details import EventData
from services.contracts.events import NewEvent
from services.contracts.fields import Priority, Severity
from services.kit.runner import fail
from services.kit.settings import ServiceSettings, StartError, add_env_file_option, load, read_env_file
from services.kit.web.service import own_key

#: For a suite that is just starting.
PATIENCE_SECONDS = 2.0
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


#: Name of the alert.
ALERT_NAME = "DiskSpaceLow"


class DemoSettings(ServiceSettings):
    bridge_url: str = Field("http://127.0.0.1:8080", description="URL of the bridge")
    alert_relay_url: str = Field("http://127.0.0.1:8081", description="URL of alert-relay")
    dashboard_url: str = Field("http://127.0.0.1:8082", description="URL of the dashboard")
    sandbox_url: str = Field("http://127.0.0.1:8083", description="URL of the Telegram sandbox")


def alert(now: datetime, status: Status, dashboard: str) -> Webhook:
    """Returns an alert as Alertmanager posts it: firing, or the end of the same alert.

    There is no Prometheus and no Alertmanager that knows it, so no link leads to them.

    Args:
        now: the time of the demo; alerts of different times are different alerts.
        status: firing or resolved.
        dashboard: URL of the page that the alert links to.
    """
    firing = status is Status.FIRING
    return Webhook(
        version="4",
        groupKey='{}:{alertname="DiskSpaceLow"}',
        status=status,
        receiver="alert-relay",
        groupLabels={"alertname": ALERT_NAME},
        commonLabels={"alertname": ALERT_NAME, "severity": "warning"},
        commonAnnotations={},
        externalURL="",
        alerts=[
            Alert(
                status=status,
                labels={"alertname": ALERT_NAME, "severity": "warning", "instance": "db-1"},
                annotations={"summary": "db-1 has 12 % of its disk left", "dashboard_url": dashboard},
                startsAt=now - timedelta(minutes=5),
                endsAt=datetime.min.replace(tzinfo=UTC) if firing else now,
                generatorURL="",
                fingerprint=f"{int(now.timestamp()):016x}",
            )
        ],
    )


def send(cct: Client, dashboard: str) -> list[str]:
    """Posts the events, the alert, its acknowledgement and its end, and returns lines for the terminal.

    Args:
        cct: the client.
        dashboard: URL of the dashboard's page.

    Raises:
        ClientError: a service is unreachable or refuses.
    """
    lines = [
        f"  {event.type:<18} ./cct message {message_id}"
        for event in EVENTS
        for message_id in cct.send(event).message_ids
    ]
    now = datetime.now(UTC)
    cct.send_alerts(alert(now, Status.FIRING, dashboard))
    for incident in cct.incidents(state="firing").incidents:
        if incident.alertname == ALERT_NAME:
            cct.acknowledge_incident(incident.id, incident.version, by="Grace")
    cct.send_alerts(alert(now, Status.RESOLVED, dashboard))
    lines.append(f"  {'alert':<18} {dashboard}")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m services.demo", description=__doc__)
    add_env_file_option(parser)
    try:
        # As the suite reads it: the demo finds the same ports and the same bot.
        read_env_file(parser.parse_args().env_file)
        settings = with_addresses(load(DemoSettings), addresses())
        urls = {Service.ALERT_RELAY: settings.alert_relay_url}
        dashboard = f"{settings.dashboard_url}/dashboard/"
        with Client(settings.bridge_url, own_key(settings), urls=urls, patience=PATIENCE_SECONDS) as cct:
            lines = send(cct, dashboard)
    except StartError as error:
        fail(error)
    except NotReachedError as error:
        fail(StartError(f"{error}. Is the suite running (make run)?"))
    except ClientError as error:
        fail(StartError(str(error)))
    out = ["Accepted, and on disk; the command shows what became of each:", *lines, "", "Now look at"]
    out.append(f"  the dashboard   {dashboard}")
    if load(BridgeSettings).uses_sandbox:
        out.append(f"  the chats       {settings.sandbox_url}/")
    sys.stdout.write("\n".join(out) + "\n")


if __name__ == "__main__":
    main()
